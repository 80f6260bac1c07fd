package exposure

import (
	"errors"
	"slices"
	"testing"

	"carillon/signing/certificate"
	"carillon/signing/revision"
)

// FuzzRevisions looks for stored keys that an upload may change although its token does
// not list them as they are, or their report cannot become the new one (§3.3). Each
// four bytes of story are a stored key: what it is, what it was revised to, what the
// upload says of it, and what the token does.
func FuzzRevisions(f *testing.F) {
	types := []certificate.ReportType{certificate.Confirmed, certificate.Likely, certificate.UserReport, certificate.Negative, ""}
	f.Add([]byte{1, 9, 0, 0}, uint8(0), true)
	f.Add([]byte{2, 0, 0, 0, 0, 9, 1, 1}, uint8(3), true)
	f.Add([]byte{0, 9, 0, 3, 1, 1, 2, 2}, uint8(1), false)
	f.Fuzz(func(t *testing.T, story []byte, to uint8, given bool) {
		in := &intake{reportType: types[int(to)%4]}
		token := tokenState{given: given}
		var found []known
		for i := 0; i+4 <= len(story) && i < 4*30; i += 4 {
			r := record{tek: [keySize]byte{byte(i)}, rollingStart: 1000 + int32(story[i+2]&1), rollingPeriod: 144 - int32(story[i+2]>>1&1)}
			k := known{TEK: slices.Clone(r.tek[:]), RollingStart: 1000, RollingPeriod: 144, ReportType: string(types[int(story[i])%len(types)])}
			if revised := int(story[i+1]); revised < 4 {
				text := string(types[revised])
				k.RevisedType = &text
			}
			in.records, found = append(in.records, r), append(found, k)
			if given && story[i+3]&1 == 0 {
				token.entries = append(token.entries, revision.Entry{TEK: r.tek, RollingStart: 1000 + int32(story[i+3]>>1&1), RollingPeriod: 144})
			}
		}
		changes, err := in.revisions(found, token)
		if err != nil {
			if !slices.ContainsFunc(Sentinels(), func(known error) bool { return errors.Is(err, known) }) || changes != nil {
				t.Fatalf("%d changes and %v", len(changes), err)
			}
			return
		}
		changed := map[[keySize]byte]bool{}
		for _, r := range changes {
			changed[r.tek] = true
		}
		for i, k := range found {
			r := in.records[i]
			listed := slices.Contains(token.entries, revision.Entry{TEK: r.tek, RollingStart: 1000, RollingPeriod: 144})
			if !given || !listed || r.rollingStart != 1000 || r.rollingPeriod != 144 {
				t.Fatalf("a key passes that the token does not cover")
			}
			if from := certificate.ReportType(k.ReportType); changed[r.tek] && (k.RevisedType != nil || !mayBecome(from, in.reportType)) {
				t.Fatalf("%s, revised %v, becomes %s", from, k.RevisedType != nil, in.reportType)
			}
		}
	})
}
