package labfeed

import (
	"errors"
	"slices"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/labfeed/document"
	"carillon/tenant/verification"
)

// grave orders test types; zero is none that a laboratory reports.
func grave(t certificate.ReportType) int {
	return 1 + slices.Index([]certificate.ReportType{certificate.Negative, certificate.Likely, certificate.Confirmed}, t)
}

// meaning is what should happen because of a result.
type meaning int

const (
	nothing  meaning = iota // the result says nothing
	takeBack                // an earlier result of the accession does not hold any more
	bury                    // people must look at it
	issue                   // a code is due
)

// verdict is what a result means under a mapping.
type verdict struct {
	meaning meaning
	// testType is known if the outcome is.
	testType certificate.ReportType
	// reason is why to bury.
	reason Reason
}

func buried(r Reason) verdict { return verdict{meaning: bury, reason: r} }

// weight orders the verdicts on one accession in one report: the gravest counts, and
// what people must look at before what needs nobody.
func (v verdict) weight() int {
	switch {
	case v.meaning == issue && grave(v.testType) > grave(certificate.Negative):
		return 4 + grave(v.testType)
	case v.meaning == bury:
		return 4
	case v.meaning == issue:
		return 3
	case v.meaning == takeBack:
		return 2
	}
	return 1
}

// rules are a mapping made ready for use.
type rules struct {
	mapping  Mapping
	tests    map[document.Code]certificate.ReportType
	outcomes map[document.Code]outcome
}

type outcome int

const (
	unknown outcome = iota
	positive
	likely
	negative
	none
)

func (m Mapping) rules() *rules {
	r := &rules{mapping: m, tests: map[document.Code]certificate.ReportType{}, outcomes: map[document.Code]outcome{}}
	for _, t := range m.Tests {
		r.tests[t.Code] = certificate.Confirmed
		if t.Positive != "" {
			r.tests[t.Code] = t.Positive
		}
	}
	for o, l := range map[outcome][]document.Code{
		positive: m.Outcomes.Positive, likely: m.Outcomes.Likely, negative: m.Outcomes.Negative, none: m.Outcomes.None,
	} {
		for _, c := range l {
			r.outcomes[c] = o
		}
	}
	return r
}

// fields tell the reader of documents where to look.
func (r *rules) fields() document.Fields {
	return document.Fields{
		Wanted: func(c document.Code) bool { return r.tests[c] != "" },
		Onset:  r.mapping.Onset, HL7: r.mapping.HL7, FHIR: r.mapping.FHIR, CSV: r.mapping.CSV,
	}
}

// judge says what a result means. The first code of each list that the mapping knows
// counts.
func (r *rules) judge(x remains) verdict {
	found := slices.IndexFunc(x.Tests, func(c document.Code) bool { return r.tests[c] != "" })
	switch {
	case found < 0:
		return buried(TestUnknown)
	case x.Status == document.Unfinished:
		return verdict{meaning: nothing}
	case x.Status == document.Withdrawn:
		return verdict{meaning: takeBack, reason: WithdrawnAfterIssue}
	}
	v := verdict{meaning: issue}
	switch r.outcomeOf(x.Values) {
	case unknown:
		return buried(ResultUnknown)
	case none:
		return verdict{meaning: nothing}
	case positive:
		v.testType = r.tests[x.Tests[found]]
	case likely:
		v.testType = certificate.Likely
	case negative:
		v.testType = certificate.Negative
	}
	switch {
	case !slices.Contains(r.mapping.Issue, v.testType):
		return verdict{meaning: takeBack, testType: v.testType, reason: CorrectedAfterIssue}
	case x.Collected.Unreadable || x.Onset.Unreadable:
		v.meaning, v.reason = bury, DateUnreadable
	case x.Phone == "":
		v.meaning, v.reason = bury, PhoneMissing
	}
	return v
}

func (r *rules) outcomeOf(values []document.Code) outcome {
	for _, c := range values {
		if o := r.outcomes[c]; o != unknown {
			return o
		}
	}
	return unknown
}

// issuerID is how codes of the lab feed are told from others in statistics.
const issuerID = "lab-feed"

// request asks for the code of a result.
func (s *Service) request(t *tenant.Tenant, x remains, testType certificate.ReportType) verification.IssueRequest {
	return verification.IssueRequest{
		TestType: string(testType), TestDate: x.Collected.Day, SymptomDate: x.Onset.Day, TZOffset: s.offset(t, x),
		Phone: x.Phone, ExternalIssuerID: issuerID, Deferred: true,
	}
}

// offset is the laboratory's distance from UTC in minutes: as the document says, else
// the tenant's.
func (s *Service) offset(t *tenant.Tenant, x remains) float64 {
	if x.Collected.HasOffset {
		return float64(x.Collected.Offset)
	}
	zone, err := time.LoadLocation(t.Settings.TimeZone)
	if err != nil {
		return 0
	}
	_, seconds := s.now().In(zone).Zone()
	return float64(seconds) / 60
}

// examine is judge and the rules of issuing that can be asked beforehand, so that a
// laboratory learns at once what cannot become a code.
func (s *Service) examine(t *tenant.Tenant, by authz.Subject, r *rules, x remains) verdict {
	v := r.judge(x)
	if v.meaning != issue {
		return v
	}
	if err := s.codes.Vet(t, by, s.request(t, x, v.testType)); err != nil {
		v.meaning, v.reason = bury, reasonFor(err)
	}
	return v
}

// reasonFor is why a refused result is a dead letter.
func reasonFor(err error) Reason {
	for _, known := range []struct {
		err    error
		reason Reason
	}{
		{authz.ErrForbidden, NotPermitted},
		{verification.ErrMissingDate, DateMissing},
		{verification.ErrInvalidDate, DateOutOfWindow},
		{verification.ErrPhoneInvalid, PhoneInvalid},
		{verification.ErrMissingPhone, PhoneMissing},
		{verification.ErrNoProvider, NoSMSProvider},
		{verification.ErrUnsupportedTestType, TestTypeNotAllowed},
		{verification.ErrUUIDExists, AlreadyIssued},
		{verification.ErrSMSFailed, MessageFailed},
		{verification.ErrTemplate, MessageFailed},
	} {
		if errors.Is(err, known.err) {
			return known.reason
		}
	}
	return Unusable
}

// passing reports whether a refusal says nothing of the result, so that trying again
// later makes sense.
func passing(err error) bool {
	var refused *verification.Problem
	if errors.Is(err, authz.ErrForbidden) {
		return false
	}
	if !errors.As(err, &refused) {
		return true
	}
	for _, p := range []error{
		verification.ErrMaintenance, verification.ErrQuota, verification.ErrSMSQueueFull, verification.ErrNoFreeCode,
	} {
		if errors.Is(err, p) {
			return true
		}
	}
	return false
}
