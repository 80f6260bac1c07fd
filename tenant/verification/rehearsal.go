package verification

import (
	"strings"

	"carillon/authz"
)

// Rehearsals take the same way as people's codes, with the same statements, through
// tables of their own: what counts, lists or deletes codes never sees one.
var rehearsed = strings.NewReplacer("verification_code", "rehearsal_code", "verification_token", "rehearsal_token")

// The statements of rehearsals.
var (
	rehearsedStoreSQL      = rehearsed.Replace(storeSQL)
	rehearsedCompareSQL    = rehearsed.Replace(compareSQL)
	rehearsedClaimShortSQL = rehearsed.Replace(claimShortSQL)
	rehearsedClaimLongSQL  = rehearsed.Replace(claimLongSQL)
	rehearsedVerifySQL     = rehearsed.Replace(verifySQL)
	rehearsedSpendSQL      = rehearsed.Replace(spendSQL)
)

// in chooses the statement of a lane.
func in(rehearsal bool, real, rehearsed string) string {
	if rehearsal {
		return rehearsed
	}
	return real
}

// refuseRehearsal keeps rehearsals from everything but plain codes: they send no message
// and take nobody's number.
func (o *order) refuseRehearsal() error {
	if o.by.Rehearsal && !o.lone() {
		return authz.ErrForbidden
	}
	return nil
}
