package exposure

import (
	"errors"

	"carillon/signing/certificate"
	"carillon/signing/revision"
)

// known is a key of the upload that is stored already.
type known struct {
	TEK           []byte  `db:"tek"`
	RollingStart  int32   `db:"rolling_start"`
	RollingPeriod int32   `db:"rolling_period"`
	ReportType    string  `db:"report_type"`
	RevisedType   *string `db:"revised_type"`
}

// errVanished means that a key was deleted while an upload of it was stored, which
// the Arrivals lock rules out.
var errVanished = errors.New("a stored key vanished")

// revisions checks every known key against the token and the table of transitions,
// and returns the records that change theirs (§3.3). A key's original type never
// changes, and a revision is final, so what is refused or left alone here would be
// so a moment later, too.
func (in *intake) revisions(found []known, token tokenState) ([]record, error) {
	var changes []record
	for _, k := range found {
		r, err := in.record(k.TEK)
		if err != nil {
			return nil, err
		}
		if err := token.cover(k, r); err != nil {
			return nil, err
		}
		changed, err := transition(certificate.ReportType(k.ReportType), (*certificate.ReportType)(k.RevisedType), in.reportType)
		if err != nil {
			return nil, err
		}
		if changed {
			changes = append(changes, r)
		}
	}
	return changes, nil
}

func (in *intake) record(tek []byte) (record, error) {
	for _, r := range in.records {
		if string(r.tek[:]) == string(tek) {
			return r, nil
		}
	}
	return record{}, errVanished
}

// tokenState is what a supplied revision token is worth. A token that does not open
// matters only if a key of the upload exists already (§1.8).
type tokenState struct {
	given   bool // something that is base64 was sent
	entries []revision.Entry
}

// cover checks that the token gives power over a stored key, which the upload must
// describe as it is stored.
func (t tokenState) cover(k known, r record) error {
	if !t.given {
		return refuse(ErrMissingRevisionToken, "no revision token, but sent existing keys")
	}
	if k.RollingStart != r.rollingStart || k.RollingPeriod != r.rollingPeriod || !t.lists(k) {
		return refuse(ErrInvalidRevisionToken, "revision token is invalid")
	}
	return nil
}

func (t tokenState) lists(k known) bool {
	for _, e := range t.entries {
		if string(e.TEK[:]) == string(k.TEK) {
			return e.RollingStart == k.RollingStart && e.RollingPeriod == k.RollingPeriod
		}
	}
	return false
}

// transition decides whether a report changes a key of this original type, which may
// have been revised before (§3.3).
func transition(original certificate.ReportType, revised *certificate.ReportType, to certificate.ReportType) (bool, error) {
	switch {
	case to == original:
		return false, nil
	case revised != nil && to == *revised:
		return false, nil
	case revised != nil:
		return false, refuse(ErrAlreadyRevised, "key was already revised")
	case !mayBecome(original, to):
		return false, refuse(ErrTransition, "invalid report type transition: cannot transition from %q to %q", original, to)
	}
	return true, nil
}

func mayBecome(from, to certificate.ReportType) bool {
	switch from {
	case certificate.UserReport:
		return to == certificate.Confirmed || to == certificate.Likely || to == certificate.Negative
	case certificate.Likely:
		return to == certificate.Confirmed || to == certificate.Negative
	case certificate.Confirmed, certificate.Negative:
		return false
	default:
		return false
	}
}
