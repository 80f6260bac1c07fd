package labfeed

import (
	"github.com/google/uuid"

	"carillon/signing/certificate"
)

// state is where a result stands.
type state string

const (
	waiting    state = "waiting"
	issued     state = "issued"
	superseded state = "superseded"
	dead       state = "dead"
	discarded  state = "discarded"
)

// row is a result as the database has it, or is about to.
type row struct {
	ID        uuid.UUID              `db:"result_id"`
	Accession []byte                 `db:"accession_digest"`
	Essence   []byte                 `db:"essence_digest"`
	State     state                  `db:"state"`
	TestType  certificate.ReportType `db:"test_type"`
	Code      *uuid.UUID             `db:"code_id"`

	reason Reason
	sealed []byte
	// fresh rows are not stored yet; changed ones are stored in another state.
	fresh, changed bool
}

func (r *row) open() bool { return r.State == waiting || r.State == dead }

// arrival is a result that came in: its row, if it is to have one, and what it means.
type arrival struct {
	row
	verdict verdict
}

// Fate is what becomes of a result on arrival.
type Fate string

// The fates.
const (
	Queued    Fate = "queued"      // a code is due
	Duplicate Fate = "duplicate"   // known already
	Ignored   Fate = "ignored"     // no test that counts, or a result that says nothing
	TakenBack Fate = "taken_back"  // it only takes back earlier ones
	Dead      Fate = "dead_letter" // people must look at it
)

// plan decides what becomes of arrivals, one after the other. It is the rule for
// corrections and knows no database.
type plan struct {
	known map[string][]*row // by accession
	// order is the fresh rows as they came.
	order []*row
	// replaced counts rows of earlier results that do not hold any more.
	replaced int
}

func newPlan(stored []row) *plan {
	p := &plan{known: map[string][]*row{}}
	for i := range stored {
		key := string(stored[i].Accession)
		p.known[key] = append(p.known[key], &stored[i])
	}
	return p
}

// place gives an arrival its fate.
func (p *plan) place(a arrival) (Fate, Reason) {
	key, v := string(a.Accession), a.verdict
	if v.meaning == nothing {
		return Ignored, reasonOfNoDeadLetter
	}
	if a.Accession == nil {
		if v.meaning == takeBack {
			return Ignored, reasonOfNoDeadLetter // there is nothing that it could take back
		}
		return p.add(a, dead, AccessionMissing)
	}
	earlier := p.issued(key)
	better := earlier == nil || grave(v.testType) > grave(earlier.TestType)
	same := p.find(key, a.Essence)
	revives := same != nil && same.State == dead && v.meaning == issue && better // it can be used by now
	switch {
	case same != nil && !revives:
		return Duplicate, reasonOfNoDeadLetter
	case v.meaning == takeBack && earlier == nil:
		if p.supersede(key) == 0 {
			return Ignored, reasonOfNoDeadLetter
		}
		return TakenBack, reasonOfNoDeadLetter
	case !better:
		a.Code = earlier.Code
		reason := CorrectedAfterIssue
		if v.reason != "" {
			reason = v.reason
		}
		p.supersede(key)
		return p.add(a, dead, reason)
	}
	p.supersede(key)
	if v.meaning == bury {
		return p.add(a, dead, v.reason)
	}
	return p.add(a, waiting, reasonOfNoDeadLetter)
}

// find is the latest result of an accession that says the same.
func (p *plan) find(key string, essence []byte) (latest *row) {
	for _, r := range p.known[key] {
		if string(r.Essence) == string(essence) {
			latest = r
		}
	}
	return latest
}

// issued is the gravest result of an accession that has a code.
func (p *plan) issued(key string) (gravest *row) {
	for _, r := range p.known[key] {
		if r.State == issued && (gravest == nil || grave(r.TestType) > grave(gravest.TestType)) {
			gravest = r
		}
	}
	return gravest
}

// supersede closes all results of an accession that have no code yet.
func (p *plan) supersede(key string) (closed int) {
	for _, r := range p.known[key] {
		if r.open() {
			r.State, r.reason, r.sealed, r.changed = superseded, reasonOfNoDeadLetter, nil, true
			closed++
		}
	}
	p.replaced += closed
	return closed
}

func (p *plan) add(a arrival, s state, reason Reason) (Fate, Reason) {
	r := a.row
	r.State, r.TestType, r.reason, r.fresh = s, a.verdict.testType, reason, true
	p.order = append(p.order, &r)
	if a.Accession != nil {
		key := string(a.Accession)
		p.known[key] = append(p.known[key], &r)
	}
	if s == dead {
		return Dead, reason
	}
	return Queued, reason
}

// changedIDs are the stored rows that were replaced.
func (p *plan) changedIDs() []string {
	var ids []string
	for _, rows := range p.known {
		for _, r := range rows {
			if r.changed && !r.fresh {
				ids = append(ids, r.ID.String())
			}
		}
	}
	return ids
}
