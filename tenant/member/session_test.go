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

// A page that asks by itself finds the session, and does not keep it.
func TestAnUnattendedPageDoesNotUseItsSession(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	s := member.NewSessions(w.Portal, w.Now)
	commit(t, s, "left", []byte("data"), w.Now().Add(12*time.Hour))
	for range 2 {
		w.Advance(9 * time.Minute)
		if _, found, err := s.FindCtx(member.Unattended(t.Context()), "left"); !found || err != nil {
			t.Fatalf("found %v, %v", found, err)
		}
	}
	w.Advance(2 * time.Minute)
	lacks(t, s, "left")
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

// Staff's sessions and those of who runs the platform are apart: neither process reads,
// changes or ends what the other keeps, nor makes a session that the other would take.
func TestSessionsAreApart(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	portal, operator := member.NewSessions(w.Portal, w.Now), member.NewSessions(w.Operator, w.Now)
	until := w.Now().Add(time.Hour)
	commit(t, portal, "of staff", []byte("staff"), until)
	commit(t, operator, "of an operator", []byte("operator"), until)
	lacks(t, operator, "of staff")
	lacks(t, portal, "of an operator")
	for name, other := range map[string]*member.Sessions{"of staff": operator, "of an operator": portal} {
		if err := other.CommitCtx(t.Context(), name, []byte("forged"), until); !tenanttest.Denied(err) {
			t.Errorf("%s: changed from elsewhere: %v", name, err)
		}
		if err := other.DeleteCtx(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	for name, db := range map[string]*tenant.DB{"portal": w.Portal, "operator": w.Operator} {
		for what, query := range map[string]string{
			"made for the other":  `insert into login_session (token_digest, data, expires_at, kept_by) values ('new', '', now(), 'carillon_operator'), ('newer', '', now(), 'carillon_portal')`,
			"handed to the other": `update login_session set kept_by = case kept_by when 'carillon_portal' then 'carillon_operator' else 'carillon_portal' end`,
		} {
			err := db.Platform(t.Context(), func(tx *tenant.Tx) error { _, err := tx.Exec(t.Context(), query); return err })
			if !tenanttest.Denied(err) {
				t.Errorf("%s: a session was %s: %v", name, what, err)
			}
		}
		end := `update login_session set ended_at = now()`
		if name == "operator" {
			end = `update login_session set ended_at = now() where data <> 'operator'`
		} else {
			end += ` where data <> 'staff'`
		}
		err := db.Platform(t.Context(), func(tx *tenant.Tx) error {
			n, err := tx.Exec(t.Context(), end)
			if n != 0 {
				t.Errorf("%s ended %d sessions of the other", name, n)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	holds(t, portal, "of staff", "staff")
	holds(t, operator, "of an operator", "operator")
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
