package labfeed

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant/labfeed/document"
)

// A dead letter is retried under the mapping and the settings of now, discarded, or
// erased after its time.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.sql(`update tenant_setting set test_types = '{confirmed}' where tenant_id = $1`, f.north.ID)
	f.north = f.find(f.north.ID)
	f.submit(result("A", "result", "local-pos"), result("B", "test", antigen), result("", "phone", "+12065550101"))
	letters := map[Reason]DeadLetter{}
	for _, l := range f.letters() {
		letters[l.Reason] = l
	}
	for reason := range letters {
		if got, err := f.retry(letters[reason].ID); got != reason || err != nil {
			t.Errorf("%s, retried too early: %q, %v", reason, got, err)
		}
	}
	m := DefaultMapping()
	m.Outcomes.Positive = append(m.Outcomes.Positive, document.Code{System: document.SNOMED, Code: "local-pos"})
	if v, err := f.feed.SetMapping(t.Context(), f.north, f.lab, m); v != 1 || err != nil {
		t.Fatalf("mapping: version %d, %v", v, err)
	}
	f.sql(`update tenant_setting set test_types = '{confirmed,likely}' where tenant_id = $1`, f.north.ID)
	f.north = f.find(f.north.ID)
	for reason, want := range map[Reason]Reason{ResultUnknown: "", TestTypeNotAllowed: "", AccessionMissing: AccessionMissing} {
		if got, err := f.retry(letters[reason].ID); got != want || err != nil {
			t.Errorf("%s, retried: %q, %v, want %q", reason, got, err, want)
		}
	}
	f.feed = f.service(f.world.Issuer, nil) // with a directory that knows the new settings
	f.turn()
	if n := f.codes(); n != 2 {
		t.Errorf("%d codes, want 2", n)
	}
	if _, err := f.retry(letters[ResultUnknown].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("an issued result, retried: %v", err)
	}
	r := f.submit(result("A", "result", "local-pos"), result("B", "test", antigen))
	f.wantCounts("the same again", r, Counts{Duplicates: 2})

	if err := f.feed.Discard(t.Context(), f.north, f.lab, letters[AccessionMissing].ID.String()); err != nil {
		t.Error(err)
	}
	if err := f.feed.Discard(t.Context(), f.north, f.lab, letters[AccessionMissing].ID.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("discarded twice: %v", err)
	}
	if n := f.number(`select count(*) from lab_result where sealed is not null`); n != 0 {
		t.Errorf("%d sealed results are left", n)
	}
	if n := f.number(`select count(*) from audit_entry where action in ('lab:retry', 'lab:discard', 'lab:map')`); n != 8 {
		t.Errorf("%d audit entries, want 8", n)
	}
	for _, id := range []string{"", "x", uuid.NewString()} {
		if _, err := f.feed.Retry(t.Context(), f.north, f.lab, id); !errors.Is(err, ErrNotFound) {
			t.Errorf("retry of %q: %v", id, err)
		}
	}
}

// A correction that came too late stays a dead letter, whatever is tried.
func TestRetryKeepsToTheRule(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	f.submit(result("A"))
	f.turn()
	f.submit(result("A", "phone", "+12065550199"))
	if got, err := f.retry(f.letters()[0].ID); got != CorrectedAfterIssue || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Pages of dead letters follow each other, also if the first is done with meanwhile.
func TestDeadLettersInPages(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	var lines []string
	for i := range PageSize + 5 {
		lines = append(lines, result(fmt.Sprint("A", i), "phone", ""))
	}
	f.submit(lines...)
	first := f.letters()
	if err := f.feed.Discard(t.Context(), f.north, f.lab, first[len(first)-1].ID.String()); err != nil {
		t.Fatal(err)
	}
	f.world.Advance(time.Hour)
	rest, err := f.feed.DeadLetters(t.Context(), f.north, f.lab, first[len(first)-1].ID.String())
	if err != nil || len(first) != PageSize || len(rest) != 5 {
		t.Fatalf("pages of %d and %d, %v", len(first), len(rest), err)
	}
	if _, err := f.feed.DeadLetters(t.Context(), f.north, f.lab, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a page after nothing: %v", err)
	}
}
