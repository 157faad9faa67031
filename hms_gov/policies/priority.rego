# A high priority wins over other people's patches, so its author says why.
package hms.patch

import rego.v1

free_priority := 100

deny contains "priority above 100 needs a reason" if {
	input.priority > free_priority

	# The reason is always text, "" when none was given; blanks are not a reason.
	trim_space(input.reason) == ""
}
