# How long a patch may stand.
#
# A patch without an end is a decision to change the service for good, and is allowed. A patch *with* an end
# says "for a while", and a while is at most 90 days: after that nobody remembers why it was set.
package hms.patch

import rego.v1

max_window_days := 90

# input.window.days is null for a window without an end. Rego compares values of different types by a fixed
# order of types instead of failing, so ask for a number first.
deny contains message if {
	is_number(input.window.days)
	input.window.days > max_window_days

	# Rounded up to hundredths, so that a window one second too long does not read "lasts 90"; then 105.00 is
	# written 105.
	hundredths := sprintf("%.2f", [ceil(input.window.days * 100) / 100])
	lasts := trim_right(trim_right(hundredths, "0"), ".")
	message := sprintf("a window may last at most %v days, this one lasts %v", [max_window_days, lasts])
}
