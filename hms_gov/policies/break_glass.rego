# Breaking the glass: an emergency that cannot wait for a freeze to end.
#
# A break-glass patch passes every freeze, so it pays for that: its author says what is on fire, it ends by itself
# within hours, and two other people agree. It takes the same path as every patch, and is marked as what it is in the
# decision, the audit and every view.
package hms.patch

import rego.v1

max_break_glass_hours := 4

# How many people agree, the author not among them, and in which roles. Release managers count here, because at
# night they are the ones who are awake.
break_glass_obligation := {"approvals": 2, "roles": ["approver", "release_manager"]}

deny contains "a break-glass patch needs a reason" if {
	input.break_glass

	# The reason is always text, "" when none was given; blanks are not a reason.
	trim_space(input.reason) == ""
}

deny contains message if {
	input.break_glass
	not short_window
	message := sprintf("a break-glass patch needs a window that ends within %v hours", [max_break_glass_hours])
}

# input.window.days is null for a window without an end, and null is no number: such a window is never short.
# Rounded to seconds, because four hours are no round part of a day.
short_window if {
	is_number(input.window.days)
	round(input.window.days * 86400) <= max_break_glass_hours * 3600
}

obligations contains break_glass_obligation if input.break_glass
