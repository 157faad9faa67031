# Auditing stays on.
#
# A knob may be written nested (audit: {enabled: false}) or dotted (audit.enabled: false), and may sit below
# another (api.audit.enabled). walk() visits every value under input.changes with its path; joining the path
# with dots makes all these spellings one.
package hms.patch

import rego.v1

# What a service may read as "no". null deletes a key in a merge patch, which takes the setting away; so does
# putting an empty list where the mapping was.
off_words := {"", "0", "0.0", "disabled", "false", "n", "no", "none", "null", "off", "[]"}

deny contains "auditing may not be switched off" if {
	walk(input.changes, [path, value])
	dotted := concat(".", [lower(sprintf("%v", [step])) | some step in path])

	# A dot in front, so that audit.enabled matches and preaudit.enabled does not.
	some knob in [".audit", ".audit.enabled"]
	endswith(concat("", [".", dotted]), knob)
	not is_object(value)
	lower(sprintf("%v", [value])) in off_words
}
