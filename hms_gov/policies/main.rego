# The frame every decision is made in.
#
# HMS-GOV asks for three names of this package and believes nothing else:
#
#   allow        must be exactly true
#   deny         a set of sentences; one sentence is enough to refuse, and the author of the patch reads it
#   obligations  a set of what must happen before the patch may run
#
# A name that is missing, that fails, or that has another type refuses the patch. So a mistake in a policy
# stops patches; it never lets one through.
package hms.patch

import rego.v1

# Allow what nobody objects to. The objections live in the other files, one subject each.
default allow := false

allow if count(deny) == 0

# Nothing is obliged here, and this keeps the name defined. What may be obliged is people's approval: so many of
# them, in these roles (left out: approvers). The author never counts, and of several obligations all must be met.
# MGT refuses a patch that is obliged anything else. A file of yours may add, for instance:
#
#   obligations contains {"approvals": 2} if input.tenant == "CDC"
#
#   obligations contains {"approvals": 1, "roles": ["approver", "release_manager"]} if input.changes.replicas > 20
obligations contains obligation if {
	some obligation in []
}
