package pack_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carillon/tenant/outbound"
	"carillon/tenant/outbound/apple"
	"carillon/tenant/pack"
	"carillon/tenant/pack/enx"
)

// given makes a pack, hands it to Apple, changes a text and makes the next.
func (f *fixture) given() pack.View {
	f.t.Helper()
	first := f.made(false)
	if err := f.staff.HandOver(f.t.Context(), f.tenant, owner, first.ID, pack.Apple, "Alex"); err != nil {
		f.t.Fatal(err)
	}
	f.change(pack.Section{Step: enx.Texts, Language: "es"}, "agencyMessage", "Otro mensaje")
	return f.made(false)
}

func (f *fixture) pushed(v pack.View) pack.Push {
	f.t.Helper()
	if err := f.staff.AskPush(f.t.Context(), f.tenant, owner, v.ID); err != nil {
		f.t.Fatal(err)
	}
	f.turn()
	return f.push(v)
}

func (f *fixture) push(v pack.View) pack.Push {
	f.t.Helper()
	found, err := f.staff.Find(f.t.Context(), f.tenant, owner, v.ID)
	if err != nil || len(found.Pushes) == 0 {
		f.t.Fatalf("%d changes, %v", len(found.Pushes), err)
	}
	return found.Pushes[0]
}

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

func TestAppleTakesTheSmallestChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := f.given()
	country := f.tenant.Region[:2]
	_, changes, err := f.staff.PlanPush(t.Context(), f.tenant, owner, v.ID)
	if err != nil || len(changes) != 1 {
		t.Fatalf("%v, %v", changes, err)
	}
	p := f.pushed(v)
	if p.State != pack.Taken || len(p.Differ) != 0 || p.EndedAt == nil {
		t.Errorf("%+v", p)
	}
	sent := f.service.Changes()
	if len(sent) != 1 || f.region.Config["agencyMessage_ES_"+country] != "Otro mensaje" || len(f.region.Config) != 1 {
		t.Errorf("sent %d, %v", len(sent), f.region.Config)
	}
	a := f.actions()
	if n := len(slices.DeleteFunc(a, func(s string) bool { return s != "pack:push" })); n != 2 { // the wish, and the signature
		t.Errorf("%d entries of it", n)
	}
	if _, _, err := f.staff.PlanPush(t.Context(), f.tenant, owner, v.ID); err != nil {
		// What was taken is compared with from now on, for the packs after it.
		t.Errorf("%v", err)
	}
}

func TestNothingToSend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.made(false)
	if err := f.staff.HandOver(t.Context(), f.tenant, owner, first.ID, pack.Apple, "Alex"); err != nil {
		t.Fatal(err)
	}
	same := f.made(false)
	if err := f.staff.AskPush(t.Context(), f.tenant, owner, same.ID); !errors.Is(err, pack.ErrNothing) {
		t.Errorf("%v", err)
	}
	f.staff.Push = false
	if err := f.staff.AskPush(t.Context(), f.tenant, owner, same.ID); !errors.Is(err, pack.ErrPushOff) {
		t.Errorf("%v", err)
	}
}

// What is final ends it, and says why; nothing is sent twice.
func TestAppleRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*fixture)
		want  string
	}{
		"an unknown key": {func(f *fixture) { f.service.Known = func(string) bool { return false } }, "(400)"},
		"another name":   {func(f *fixture) { f.region.Authority = "Other" }, "(401)"},
		"no such region": {func(f *fixture) { f.region.State = "ZZZ" }, "(404)"},
		"a redirect": {func(f *fixture) {
			f.service.Fail(func(w http.ResponseWriter) { w.Header().Set("Location", "/elsewhere"); w.WriteHeader(302) })
		}, "redirect"},
		"an oversized answer": {func(f *fixture) {
			f.service.Fail(func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) })
		}, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			v := f.given()
			test.spoil(f)
			p := f.pushed(v)
			f.Advance(24 * time.Hour)
			f.turn()
			if p.State != pack.Refused || !strings.Contains(p.Outcome, test.want) || len(f.service.Changes()) != 1 {
				t.Errorf("%s: %s, %q, sent %d times", name, p.State, p.Outcome, len(f.service.Changes()))
			}
			if err := f.staff.AskPush(t.Context(), f.tenant, owner, v.ID); err != nil {
				t.Errorf("again: %v", err)
			}
		})
	}
}

// A service that fails is asked again after pauses that grow, and given up in the end; one
// change at a time is on its way.
func TestAppleFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := f.given()
	for range 6 {
		f.service.Fail(status(500))
	}
	p := f.pushed(v)
	if p.State != pack.Waiting {
		t.Fatalf("%+v", p)
	}
	if err := f.staff.AskPush(t.Context(), f.tenant, owner, v.ID); !errors.Is(err, pack.ErrPushing) {
		t.Errorf("a second one: %v", err)
	}
	for attempt, wait := 1, time.Minute; attempt < 6; attempt, wait = attempt+1, 2*wait {
		f.Advance(wait - time.Second)
		f.turn()
		if n := len(f.service.Changes()); n != attempt {
			t.Fatalf("sent %d times before its time, want %d", n, attempt)
		}
		f.Advance(time.Second)
		f.turn()
		if n := len(f.service.Changes()); n != attempt+1 {
			t.Fatalf("sent %d times, want %d", n, attempt+1)
		}
	}
	if p = f.push(v); p.State != pack.Refused || !strings.Contains(p.Outcome, "500") {
		t.Errorf("%+v", p)
	}
	if p = f.pushed(v); p.State != pack.Taken {
		t.Errorf("%+v", p)
	}
}

// What Apple delivers may lag behind what it took, or lie for good.
func TestReadBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := f.given()
	f.service.Lag(2)
	key := "agencyMessage_ES_" + f.tenant.Region[:2]
	p := f.pushed(v)
	if p.State != pack.Reading || !slices.Equal(p.Differ, []string{key}) {
		t.Fatalf("%+v", p)
	}
	for range 2 {
		f.Advance(time.Minute)
		f.turn()
	}
	if p = f.push(v); p.State != pack.Taken || len(p.Differ) != 0 || len(f.service.Changes()) != 1 {
		t.Errorf("%+v", p)
	}

	f = newFixture(t)
	v = f.given()
	f.service.Lag(100)
	f.pushed(v)
	for range 5 {
		f.Advance(time.Minute)
		f.turn()
	}
	if p = f.push(v); p.State != pack.Taken || !slices.Equal(p.Differ, []string{key}) || !strings.Contains(p.Outcome, "otherwise") {
		t.Errorf("%+v", p)
	}

	f = newFixture(t)
	v = f.given()
	f.service.Fail(func(http.ResponseWriter) {}) // the change: 200, and nothing is changed
	f.service.Fail(status(404))
	if p = f.pushed(v); p.State != pack.Reading || !strings.Contains(p.Outcome, "404") {
		t.Errorf("%+v", p)
	}
}

// Of two processes, one sends; one that dies about it leaves it to another after a while.
func TestOneProcessSends(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	v := f.given()
	if err := f.staff.AskPush(t.Context(), f.tenant, owner, v.ID); err != nil {
		t.Fatal(err)
	}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(silent.Close)
	c, err := apple.New(outbound.New(true), silent.URL)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := f.newMaker(c).Turn(t.Context(), f.tenant.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p := f.push(v); p.State != pack.Waiting || p.Attempts != 1 {
		t.Errorf("%+v", p)
	}
	// As if it had died before it wrote down what came of it.
	if _, err := f.Database.Super().ExecContext(t.Context(), `update pack_push set due_at = $1`, f.Now().Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	f.turn()
	if n := len(f.service.Changes()); n != 0 {
		t.Errorf("sent %d times while another has it", n)
	}
	f.Advance(2 * time.Minute)
	f.turn()
	if p := f.push(v); p.State != pack.Taken {
		t.Errorf("%+v", p)
	}
}
