package verification

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/signing"
	"carillon/signing/certificate"
	"carillon/tenant"
)

// VerifyRequest is a phone's request for a token (verification protocol §1.1). It
// prints and logs as a fixed word.
type VerifyRequest struct {
	// Code is the short or the long code; surrounding blanks do not matter.
	Code string
	// Accept names the test types that the phone can handle; none means all.
	Accept []string
	// Nonce is that of the self-report, in base64. Other codes ask for none and
	// ignore it, but it must be base64.
	Nonce string
	// Rehearsal: the code is a rehearsal's, and no other is found.
	Rehearsal bool
}

// Verified is a claimed code's diagnosis and the token for it. It prints and logs
// as a fixed word.
type Verified struct {
	TestType string
	// SymptomDate and TestDate are YYYY-MM-DD, or empty.
	SymptomDate, TestDate string
	// Token is opaque to the phone, which returns it byte for byte.
	Token string
}

// The verdicts of verifySQL. Only the first one has changed anything.
const (
	verdictClaimed     = "claimed"
	verdictExpired     = "expired"
	verdictSpent       = "spent"
	verdictUnsupported = "unsupported"
	verdictNonce       = "nonce" // not the self-report's
	verdictOvertaken   = "overtaken"
	verdictUnknown     = "" // no answer
)

// What phones ask for, almost always, is a code that is simply good: under the active key,
// in time, unclaimed, of a type that the phone takes, and no self-report. Then one update
// by one index claims it, at two thirds of the cost of judging it. Of every other code these
// two statements say nothing, and [verifySQL] judges it.
const (
	claimShortSQL = claimSQL + `short_mac = $1::bytea and expires_at > $2` + claimedSQL
	claimLongSQL  = claimSQL + `long_mac = $1::bytea and long_expires_at > $2` + claimedSQL

	claimSQL = `
with claimed as (
  update verification_code
     set claimed_at = $2
   where `
	claimedSQL = `
     and claimed_at is null
     and test_type <> 'user-report'
     and ($3::text[] is null or test_type = any($3::text[]))
  returning code_id, test_type, symptom_date, test_date, (issued_at at time zone 'UTC')::date as code_day
), stored as (
  insert into verification_token (tenant_id, token_digest, expires_at, test_type, code_day)
  select current_tenant(), $4::bytea, $5::timestamptz, test_type, code_day
    from claimed
)
select code_id,
       'claimed' as verdict,
       test_type,
       coalesce(to_char(symptom_date, 'YYYY-MM-DD'), '') as symptom_date,
       coalesce(to_char(test_date, 'YYYY-MM-DD'), '') as test_date
  from claimed`
)

// looksLong reports whether a code has more than digits, as no short code has. A long code
// that happens to have none is not found where short ones are, and judged.
func looksLong(code string) bool { return strings.Trim(code, shortAlphabet) != "" }

// One statement finds the code under any live key, judges it in the protocol's
// order, claims it and stores the token. The update takes the row only as the
// judgement saw it: of concurrent claims one gets it, and the others are overtaken and
// judge again.
//
// Each MAC is looked up by itself, so that every plan, whatever it was made for, goes
// through the unique indexes; the inner select hides the array's length, or a plan
// that is made for each array anew would seem cheaper than one that is kept.
//
// A nonce is compared in constant time: what is compared are digests together with
// $4, which is fresh randomness in each request, so that how many of their bytes
// agree says nothing about the nonces.
const verifySQL = `
with found as (
  select c.code_id, c.test_type, c.symptom_date, c.test_date, c.claimed_at, c.ends_at
    from unnest((select $1::bytea[])) as m (mac)
   cross join lateral (
           select code_id, test_type, symptom_date, test_date, claimed_at, expires_at as ends_at
             from verification_code
            where short_mac = m.mac
        union all
           select code_id, test_type, symptom_date, test_date, claimed_at, long_expires_at
             from verification_code
            where long_mac = m.mac
           offset 0) c
   limit 1
), judged as (
  select f.code_id, f.test_type, f.symptom_date, f.test_date, f.ends_at,
         case when f.ends_at <= $2                                          then 'expired'
              when f.claimed_at is not null                                 then 'spent'
              when $3::text[] is not null and not (f.test_type = any($3::text[])) then 'unsupported'
              when f.test_type <> 'user-report'                             then 'claimed'
              when r.code_id is null or r.claimed_at is not null            then 'spent'
              when r.nonce_digest is null                                   then 'claimed'
              when sha256($4::bytea || r.nonce_digest) = sha256($4::bytea || $6::bytea) then 'claimed'
              else 'nonce'
         end as verdict
    from found f
    left join lateral (
           select code_id, claimed_at, nonce_digest
             from user_report
            where f.test_type = 'user-report' and code_id = f.code_id
           offset 0) r on true
), claimed as (
  update verification_code c
     set claimed_at = $2
    from judged j
   where c.code_id = j.code_id
     and j.verdict = 'claimed'
     and c.claimed_at is null
     and j.ends_at in (c.expires_at, c.long_expires_at)
  returning c.code_id, c.test_type, (c.issued_at at time zone 'UTC')::date as code_day
), reported as (
  update user_report
     set claimed_at = $2
   where code_id = (select code_id from claimed where test_type = 'user-report')
), stored as (
  insert into verification_token (tenant_id, token_digest, expires_at, test_type, code_day)
  select current_tenant(), $4::bytea, $5::timestamptz, test_type, code_day
    from claimed
)
select code_id,
       case when verdict = 'claimed' and not exists (select from claimed) then 'overtaken'
            else verdict
       end as verdict,
       test_type,
       coalesce(to_char(symptom_date, 'YYYY-MM-DD'), '') as symptom_date,
       coalesce(to_char(test_date, 'YYYY-MM-DD'), '') as test_date
  from judged`

// judged is the statement's answer; there is none for an unknown code.
type judged struct {
	code                  uuid.UUID
	verdict, testType     string
	symptomDate, testDate string // YYYY-MM-DD, or empty
}

// spelled is a code as it was issued: people may type blanks around it, and capitals,
// which no code has (§1.1).
func spelled(code string) string { return strings.ToLower(strings.TrimSpace(code)) }

// Verify swaps a code for a token, once (verification protocol §1). In the
// protocol's order: [ErrMaintenance], [ErrInvalidTestType] for an unknown element of Accept,
// [ErrUnparsable] for a nonce that is not base64, [ErrCodeInvalid] for an unknown
// code, [ErrCodeExpired], [ErrCodeInvalid] again for a claimed one,
// [ErrUnsupportedTestType] for a test type that the phone cannot handle, and
// [ErrCodeInvalid] for a nonce that is not the self-report's. Whatever
// is refused, or fails before the commit, leaves the code unclaimed.
//
// An unknown and a claimed code take the same way: the same MACs, the same statements,
// in as many round trips. Only success writes.
func (s *Service) Verify(ctx context.Context, t *tenant.Tenant, r VerifyRequest) (*Verified, error) {
	if t.ClosedForVerify() {
		return nil, inMaintenance()
	}
	accept, err := acceptable(r.Accept)
	if err != nil {
		return nil, err
	}
	nonce, err := parseNonce(r.Nonce)
	if err != nil {
		return nil, err
	}
	live, err := s.keys.Secrets(ctx, t.ID, signing.CodeMAC)
	if err != nil {
		return nil, fmt.Errorf("keys of codes: %w", err)
	}
	code := spelled(r.Code)
	c := claim{candidates: macs(live, code), long: looksLong(code), nonce: nonceDigest(nonce), accept: texts(accept), at: s.clock(), rehearsal: r.Rehearsal}
	if c.token, err = s.newSealer(ctx, t, c.at); err != nil {
		return nil, err
	}
	return c.run(ctx, s.db, t.ID, s.refusals)
}

// texts are types as the database knows them; nil stays nil.
func texts(types []certificate.ReportType) (all pq.StringArray) {
	for _, t := range types {
		all = append(all, string(t))
	}
	return all
}

// claim is one attempt to claim a code.
type claim struct {
	candidates [][]byte // MACs of the code under every live key, the active one first
	long       bool     // whether it looks like a long code
	nonce      []byte   // digest of what the phone sent
	accept     pq.StringArray
	at         time.Time
	token      *sealer
	rehearsal  bool
}

// run judges the code and, if it is good, returns the token that the statement
// has stored. Why a code that exists was refused is noted in refusals.
func (c claim) run(ctx context.Context, db *tenant.DB, id tenant.ID, refusals *Refusals) (*Verified, error) {
	row, err := c.judge(ctx, db, id)
	if err != nil {
		return nil, fmt.Errorf("claim code: %w", err)
	}
	if cause, refused := causes()[row.verdict]; refused && !c.rehearsal {
		refusals.note(id, row.code, Refusal{Cause: cause, At: c.at})
	}
	switch row.verdict {
	case verdictUnknown:
		return nil, codeInvalid()
	case verdictClaimed:
		return row.verified(c.token)
	case verdictExpired:
		return nil, refuse(ErrCodeExpired, "verification code expired")
	case verdictSpent:
		return nil, refuseSpent(ErrCodeInvalid, invalidText)
	case verdictNonce:
		return nil, &Problem{Kind: ErrCodeInvalid, Text: invalidText, Nonce: true}
	case verdictUnsupported:
		return nil, refuse(ErrUnsupportedTestType, "verification code has unsupported test type")
	default:
		return nil, fmt.Errorf("claim code: unknown verdict %q", row.verdict)
	}
}

// maxJudgements bounds how often somebody else may change a code just before us. It
// can be claimed once, withdrawn once and expired once.
const maxJudgements = 4

func (c claim) judge(ctx context.Context, db *tenant.DB, id tenant.ID) (j judged, err error) {
	if j, err = c.take(ctx, db, id); err != nil || j.verdict == verdictClaimed {
		return j, err
	}
	statement := tenant.Statement{SQL: in(c.rehearsal, verifySQL, rehearsedVerifySQL), Args: []any{
		pq.ByteaArray(c.candidates), c.at, c.accept, c.token.digest(), c.token.expires, c.nonce,
	}}
	for range maxJudgements {
		if j, err = ask(ctx, db, id, statement); err != nil || j.verdict != verdictOvertaken {
			break
		}
	}
	return j, err
}

// take claims a code that is simply good, and answers nothing for any other.
func (c claim) take(ctx context.Context, db *tenant.DB, id tenant.ID) (judged, error) {
	query := in(c.rehearsal, claimShortSQL, rehearsedClaimShortSQL)
	if c.long {
		query = in(c.rehearsal, claimLongSQL, rehearsedClaimLongSQL)
	}
	return ask(ctx, db, id, tenant.Statement{SQL: query, Args: []any{
		c.candidates[0], c.at, c.accept, c.token.digest(), c.token.expires,
	}})
}

func ask(ctx context.Context, db *tenant.DB, id tenant.ID, s tenant.Statement) (j judged, err error) {
	err = db.Do(ctx, id, s, func(r tenant.Row) error {
		return r.Scan(&j.code, &j.verdict, &j.testType, &j.symptomDate, &j.testDate)
	})
	return j, err
}

// verified is the answer to a claim, with its token.
func (j judged) verified(sl *sealer) (*Verified, error) {
	text, err := sl.seal(certificate.ReportType(j.testType), date(j.symptomDate), date(j.testDate))
	if err != nil {
		return nil, fmt.Errorf("seal token: %w", err)
	}
	return &Verified{TestType: j.testType, SymptomDate: j.symptomDate, TestDate: j.testDate, Token: text}, nil
}

const invalidText = "verification code invalid"

func codeInvalid() error { return refuse(ErrCodeInvalid, invalidText) }

// accepted is what an element of a request's accept list stands for (§1.1);
// nothing, if there is no such element.
func accepted(element string) []certificate.ReportType {
	switch certificate.ReportType(strings.ToLower(element)) {
	case certificate.Confirmed:
		return []certificate.ReportType{certificate.Confirmed}
	case certificate.Likely:
		return []certificate.ReportType{certificate.Confirmed, certificate.Likely}
	case certificate.Negative:
		return []certificate.ReportType{certificate.Confirmed, certificate.Likely, certificate.Negative}
	case certificate.UserReport:
		return []certificate.ReportType{certificate.Confirmed, certificate.UserReport}
	default:
		return nil
	}
}

// acceptable returns the test types that any of the elements stands for, or nil
// if there are no elements: then every type will do, future ones included.
func acceptable(elements []string) ([]certificate.ReportType, error) {
	var types []certificate.ReportType
	for _, e := range elements {
		more := accepted(e)
		if more == nil {
			return nil, refuse(ErrInvalidTestType, "invalid accepted test type: %s", e)
		}
		types = append(types, more...)
	}
	slices.Sort(types)
	return slices.Compact(types), nil
}
