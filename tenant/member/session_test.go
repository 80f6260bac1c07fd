package member_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"carillon/tenant"
	"carillon/tenant/member"
	"carillon/tenant/tenanttest"
)

var (
	_ scs.Store    = (*member.Sessions)(nil)
	_ scs.CtxStore = (*member.Sessions)(nil)
)

func TestSessions(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	data := []byte("\x00\xffbinary'\\")
	expires := w.Now().Add(time.Hour)

	if got, found, err := s.FindCtx(t.Context(), "digest"); got != nil || found || err != nil {
		t.Errorf("before Commit: %q, %v, %v", got, found, err)
	}
	commit(t, s, "digest", data, expires)
	commit(t, s, "other", []byte("other"), expires)
	holds(t, s, "digest", string(data))

	commit(t, s, "digest", []byte("changed"), expires.Add(time.Hour))
	holds(t, s, "digest", "changed")
	holds(t, s, "other", "other")

	for range 4 { // it is used, and so lives to its end
		w.Advance(15 * time.Minute)
		holds(t, s, "digest", "changed")
	}
	lacks(t, s, "other") // nobody used it
	for range 4 {
		w.Advance(15*time.Minute - time.Second/4)
		holds(t, s, "digest", "changed")
	}
	w.Advance(time.Second)
	lacks(t, s, "digest")

	commit(t, s, "digest", []byte("again"), w.Now().Add(time.Hour))
	holds(t, s, "digest", "again")
	for range 2 {
		if err := s.DeleteCtx(t.Context(), "digest"); err != nil {
			t.Errorf("Delete: %v", err)
		}
		lacks(t, s, "digest")
	}
}

// A session that nobody uses ends at its last instant, which is not its own.
func TestIdleSessions(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	commit(t, s, "idle", []byte("data"), w.Now().Add(12*time.Hour))
	w.Advance(member.SessionIdle - time.Second)
	holds(t, s, "idle", "data")
	w.Advance(member.SessionIdle)
	lacks(t, s, "idle")

	commit(t, s, "short", []byte("data"), w.Now().Add(time.Minute))
	w.Advance(time.Minute)
	lacks(t, s, "short")
}

func TestDeleteExpired(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	commit(t, s, "ends now", []byte("x"), w.Now())
	commit(t, s, "ended", []byte("x"), w.Now().Add(-time.Hour))
	commit(t, s, "lives", []byte("data"), w.Now().Add(time.Second))
	if err := member.DeleteExpired(t.Context(), w.Jobs, w.Now()); err != nil {
		t.Fatal(err)
	}
	holds(t, s, "lives", "data")
	var n int
	if err := w.Database.Super().QueryRowContext(t.Context(), `select count(*) from login_session`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d sessions are left (%v), want one", n, err)
	}
}

// Only those who serve pages to people handle sessions; the jobs role may remove them without reading.
func TestSessionsByRole(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	commit(t, member.NewSessions(w.Portal, w.Now), "digest", []byte("data"), w.Now().Add(time.Hour))
	for name, db := range map[string]*tenant.DB{
		"device": w.Device, "issuer": w.Issuer, "publish": w.Publish, "jobs": w.Jobs, "report": w.Report,
	} {
		s := member.NewSessions(db, w.Now)
		if got, _, err := s.FindCtx(t.Context(), "digest"); got != nil || !tenanttest.Denied(err) {
			t.Errorf("%s: Find: %q, %v, want permission denied", name, got, err)
		}
		if err := s.CommitCtx(t.Context(), "digest", nil, w.Now()); err == nil {
			t.Errorf("%s changed a session", name)
		}
	}
}

// The store under the library that uses it: what a cookie holds is not what is
// stored, and ending a session ends it.
func TestUnderTheLibrary(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	m := scs.New()
	m.Store, m.HashTokenInStore = member.NewSessions(w.Portal, w.Now), true

	ctx, err := m.Load(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	m.Put(ctx, "who", "robin")
	cookie, _, err := m.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var digest string
	if err := w.Database.Super().QueryRowContext(t.Context(), `select token_digest from login_session`).Scan(&digest); err != nil {
		t.Fatal(err)
	}
	if digest == cookie || strings.Contains(digest, cookie) {
		t.Error("the cookie's value is stored")
	}
	load := func(cookie string) (context.Context, string) {
		t.Helper()
		ctx, err := m.Load(t.Context(), cookie)
		if err != nil {
			t.Fatal(err)
		}
		return ctx, m.GetString(ctx, "who")
	}
	ctx, who := load(cookie)
	if who != "robin" {
		t.Errorf("who = %q", who)
	}
	if _, who := load(digest); who != "" {
		t.Error("the stored digest works as a cookie")
	}
	if err := m.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	if _, who := load(cookie); who != "" {
		t.Error("the session works after its end")
	}
}

// The interface has methods without a context; a session is never reached by them.
func TestContextIsNeeded(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	_, found, errFind := s.Find("digest")
	errCommit, errDelete := s.Commit("digest", nil, w.Now()), s.Delete("digest")
	if found || errFind == nil || errCommit == nil || errDelete == nil {
		t.Errorf("Find %v %v, Commit %v, Delete %v: want errors", found, errFind, errCommit, errDelete)
	}
}

func TestSessionRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	if got := w.Trips(func() { commit(t, s, "digest", []byte("data"), w.Now().Add(time.Hour)) }); got != 1 {
		t.Errorf("Commit: %d round trips, want 1", got)
	}
	if got := w.Trips(func() { holds(t, s, "digest", "data") }); got != 1 {
		t.Errorf("Find: %d round trips, want 1", got)
	}
}

func commit(t *testing.T, s *member.Sessions, digest string, data []byte, expires time.Time) {
	t.Helper()
	if err := s.CommitCtx(t.Context(), digest, data, expires); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, s *member.Sessions, digest, want string) {
	t.Helper()
	if got, found, err := s.FindCtx(t.Context(), digest); !found || err != nil || string(got) != want {
		t.Errorf("session %s: %q, %v, %v, want %q", digest, got, found, err, want)
	}
}

func lacks(t *testing.T, s *member.Sessions, digest string) {
	t.Helper()
	if got, found, err := s.FindCtx(t.Context(), digest); got != nil || found || err != nil {
		t.Errorf("session %s: %q, %v, %v, want none", digest, got, found, err)
	}
}
