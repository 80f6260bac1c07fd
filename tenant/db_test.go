package tenant_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

const (
	setAudienceSQL = `update tenant_setting set audience = $1`
	audienceSQL    = `select audience from tenant_setting`
	anything       = "exposure-notifications-server" // what tenanttest gives everybody
)

var errEnough = errors.New("enough")

// one is a handle with a single connection: whatever a use leaves behind, the next
// one finds.
func one(t *testing.T, w *tenanttest.World, role string) *tenant.DB {
	t.Helper()
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN(role), MaxOpen: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestInIsBoundToItsTenant(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		n, err := tx.Exec(t.Context(), setAudienceSQL, "changed")
		if n != 1 {
			t.Errorf("%d rows changed, want the tenant's one", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := audience(t, w.Device, north.ID); got != "changed" {
		t.Errorf("north's audience = %q", got)
	}
	if got := audience(t, w.Device, south.ID); got != anything {
		t.Errorf("south's audience = %q", got)
	}
	for name, in := range map[string]func(context.Context, func(*tenant.Tx) error) error{
		"a tenant that does not exist": func(ctx context.Context, fn func(*tenant.Tx) error) error {
			return w.Operator.In(ctx, tenant.NewID(), fn)
		},
		"the zero tenant": func(ctx context.Context, fn func(*tenant.Tx) error) error { return w.Operator.In(ctx, tenant.ID{}, fn) },
		"no tenant":       w.Operator.Platform,
	} {
		err := in(t.Context(), func(tx *tenant.Tx) error {
			var got string
			if err := tx.Get(t.Context(), &got, audienceSQL); !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("%s: audience = %q, %v, want no row", name, got, err)
			}
			n, err := tx.Exec(t.Context(), setAudienceSQL, "taken over")
			if n != 0 {
				t.Errorf("%s: %d rows changed", name, n)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorRollsBack(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(t.Context(), setAudienceSQL, "changed"); err != nil {
			return err
		}
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("err = %v, want the function's", err)
	}
	if got := audience(t, w.Operator, north.ID); got != anything {
		t.Errorf("audience = %q", got)
	}
}

// Postgres answers commit with a silent rollback after a failure; the caller must
// not take that for success.
func TestSwallowedFailureDoesNotCommit(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")
	var discard string
	var discards []string
	for name, fail := range map[string]func(*tenant.Tx) error{
		"Exec": func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), `update tenant_setting set audience = ''`)
			return err
		},
		"Get":    func(tx *tenant.Tx) error { return tx.Get(t.Context(), &discard, `select 1/0`) },
		"Select": func(tx *tenant.Tx) error { return tx.Select(t.Context(), &discards, `select nonsense`) },
		"Each": func(tx *tenant.Tx) error {
			return tx.Each(t.Context(), func(*sqlx.Rows) error { return nil }, `select 1 / (2 - n) from generate_series(1, 3) n`)
		},
	} {
		err := db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
			if _, err := tx.Exec(t.Context(), setAudienceSQL, "changed"); err != nil {
				return err
			}
			if err := fail(tx); err == nil {
				t.Errorf("%s: the statement did not fail", name)
			}
			return nil
		})
		if err == nil {
			t.Errorf("%s: a transaction that could not commit seems to have done so", name)
		}
		if got := audience(t, db, north.ID); got != anything {
			t.Errorf("%s: audience = %q", name, got)
		}
	}
}

// No row is an answer, not a failure.
func TestNoRowDoomsNothing(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		var s string
		if err := tx.Get(t.Context(), &s, audienceSQL+` where audience = 'none'`); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("Get: %v, want sql.ErrNoRows", err)
		}
		_, err := tx.Exec(t.Context(), setAudienceSQL, "changed")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := audience(t, w.Operator, north.ID); got != "changed" {
		t.Errorf("audience = %q", got)
	}
}

// A panic, and the end of the goroutine, roll back and leave a usable connection.
func TestPanicRollsBack(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")
	for name, leave := range map[string]func(){
		"panic":  func() { panic("thrown") },
		"Goexit": runtime.Goexit,
	} {
		thrown := make(chan any, 1)
		go func() {
			defer func() { thrown <- recover() }()
			_ = db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
				if _, err := tx.Exec(t.Context(), setAudienceSQL, "changed"); err != nil {
					t.Error(err)
				}
				leave()
				return nil
			})
		}()
		if got := <-thrown; name == "panic" && got != "thrown" {
			t.Errorf("the panic became %v", got)
		}
		if got := audience(t, db, north.ID); got != anything {
			t.Errorf("%s: audience = %q", name, got)
		}
		eventually(t, w, "no transaction is open", noneOpenSQL)
	}
}

// Whatever way a transaction ends, the next one on its connection knows nothing of
// the tenant or the person it was bound to.
func TestBindingEndsWithTheTransaction(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	db := one(t, w, "carillon_portal")
	var lock tenant.Lock = "test"
	nothing := func(*tenant.Tx) error { return nil }
	first := backend(t, db)
	for name, use := range map[string]func(){
		"commit":   func() { _ = db.In(t.Context(), north.ID, nothing) },
		"rollback": func() { _ = db.In(t.Context(), north.ID, func(*tenant.Tx) error { return errEnough }) },
		"failure": func() {
			_ = db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
				_, err := tx.Exec(t.Context(), `select 1/0`)
				return err
			})
		},
		"panic": func() {
			defer func() { _ = recover() }()
			_ = db.In(t.Context(), north.ID, func(*tenant.Tx) error { panic("thrown") })
		},
		"shared lock":    func() { _ = db.InShared(t.Context(), north.ID, lock, nothing) },
		"exclusive lock": func() { _ = db.InExclusive(t.Context(), north.ID, lock, nothing) },
		"sign-in":        func() { _ = db.ForLogin(t.Context(), "https://idp.example", "robin@health.example", nothing) },
	} {
		use()
		err := db.Platform(t.Context(), func(tx *tenant.Tx) error {
			var left struct {
				Tenant, Issuer, Email string
				Locks                 int
			}
			err := tx.Get(t.Context(), &left, `
select coalesce(current_setting('carillon.tenant_id', true), '')    as tenant,
       coalesce(current_setting('carillon.login_issuer', true), '') as issuer,
       coalesce(current_setting('carillon.login_email', true), '')  as email,
       (select count(*) from pg_locks where locktype = 'advisory')  as locks`)
			if left.Tenant+left.Issuer+left.Email != "" || left.Locks != 0 {
				t.Errorf("after %s: %+v is left", name, left)
			}
			return err
		})
		if err != nil {
			t.Errorf("after %s: %v", name, err)
		}
		if got := audience(t, db, south.ID); got != anything {
			t.Errorf("after %s: south's audience = %q", name, got)
		}
	}
	if last := backend(t, db); last != first {
		t.Errorf("the connection changed from %d to %d: nothing was proved", first, last)
	}
}

// A transaction's handle is dead after it: it does not reach into the next one.
func TestTxEndsWithItsFunction(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	db := one(t, w, "carillon_operator")
	var escaped *tenant.Tx
	if err := db.In(t.Context(), north.ID, func(tx *tenant.Tx) error { escaped = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	err := db.In(t.Context(), south.ID, func(*tenant.Tx) error {
		if n, err := escaped.Exec(t.Context(), setAudienceSQL, "changed"); !errors.Is(err, sql.ErrConnDone) {
			t.Errorf("an ended transaction changed %d rows (%v)", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A caller who goes away frees the connection at once and leaves nothing open.
func TestCancelDuringStatement(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- db.In(ctx, north.ID, func(tx *tenant.Tx) error {
			if _, err := tx.Exec(ctx, setAudienceSQL, "changed"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `select pg_sleep(600)`)
			return err
		})
	}()
	eventually(t, w, "the statement runs", `select count(*) = 1 from pg_stat_activity where datname = current_database() and query like 'select pg_sleep%' and state = 'active'`)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) && !strings.Contains(fmt.Sprint(err), "query_canceled") {
		t.Errorf("err = %v, want the cancellation", err)
	}
	if got := audience(t, db, north.ID); got != anything {
		t.Errorf("audience = %q", got)
	}
	eventually(t, w, "no transaction is open", noneOpenSQL)
}

func TestCancelledBeforeAndWithin(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	err := db.In(gone, north.ID, func(*tenant.Tx) error {
		t.Error("the function ran for a caller who was gone")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("before: %v, want context.Canceled", err)
	}

	// A commit may still win over the cancellation. Then, and only then, the answer
	// is that it did.
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.In(ctx, north.ID, func(tx *tenant.Tx) error {
			_, err := tx.Exec(ctx, setAudienceSQL, fmt.Sprint(i))
			cancel()
			return err
		})
		if got := audience(t, db, north.ID); err == nil && got != fmt.Sprint(i) {
			t.Errorf("audience = %q: a success that did not commit", got)
		}
		eventually(t, w, "no transaction is open", noneOpenSQL)
	}
}

// Callers beyond the number of connections wait, and no longer than they want to.
func TestWaitingForAConnection(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")
	err := db.In(t.Context(), north.ID, func(*tenant.Tx) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err := db.In(ctx, north.ID, func(*tenant.Tx) error { return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v, want the deadline", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := audience(t, db, north.ID); got != anything {
		t.Errorf("audience = %q", got)
	}
}

// A connection that the server has ended fails at most one transaction.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")
	err := db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(t.Context(), setAudienceSQL, "changed"); err != nil {
			return err
		}
		var pid int
		if err := tx.Get(t.Context(), &pid, `select pg_backend_pid()`); err != nil {
			return err
		}
		if _, err := w.Database.Super().ExecContext(t.Context(), `select pg_terminate_backend($1, 10000)`, pid); err != nil {
			return err
		}
		return nil
	})
	if err == nil {
		t.Error("a transaction whose connection was lost seems to have committed")
	}
	if got := audience(t, db, north.ID); got != anything {
		t.Errorf("audience = %q", got)
	}
}

// Connections that ended while nobody used them, as when the server is restarted, fail
// no transaction at all.
func TestLostWhileResting(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := w.Open("carillon_operator")
	const open = 8
	var pids [open]int
	var arrived, leave sync.WaitGroup
	arrived.Add(open)
	for i := range open { // as many connections as there are at once
		leave.Go(func() {
			err := db.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
				arrived.Done()
				arrived.Wait()
				return tx.Get(t.Context(), &pids[i], `select pg_backend_pid()`)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	leave.Wait()
	for _, pid := range pids {
		if _, err := w.Database.Super().ExecContext(t.Context(), `select pg_terminate_backend($1, 10000)`, pid); err != nil {
			t.Fatal(err)
		}
	}
	if got := audience(t, db, north.ID); got != anything {
		t.Errorf("audience = %q", got)
	}
	if stats := db.Stats(); stats.Open != 1 {
		t.Errorf("%d connections are open, want the new one alone", stats.Open)
	}
}

// Opening and committing cost one round trip each, with or without a lock; every
// statement costs one, whatever its parameters.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	var s string
	var list []string
	statements := []func(*tenant.Tx) error{
		func(tx *tenant.Tx) error { return tx.Get(t.Context(), &s, `select 'x'`) },
		func(tx *tenant.Tx) error {
			return tx.Select(t.Context(), &list, audienceSQL+` where audience = $1 or $2`, "a", true)
		},
		func(tx *tenant.Tx) error {
			_, err := tx.Exec(t.Context(), setAudienceSQL, "changed")
			return err
		},
		func(tx *tenant.Tx) error {
			return tx.Each(t.Context(), func(*sqlx.Rows) error { return nil }, `select generate_series(1, $1::int)`, 5000)
		},
	}
	run := func(n int) func(*tenant.Tx) error {
		return func(tx *tenant.Tx) error {
			for _, s := range statements[:n] {
				if err := s(tx); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, open := range map[string]func(func(*tenant.Tx) error) error{
		"In":          func(fn func(*tenant.Tx) error) error { return w.Operator.In(t.Context(), north.ID, fn) },
		"InShared":    func(fn func(*tenant.Tx) error) error { return w.Operator.InShared(t.Context(), north.ID, "x", fn) },
		"InExclusive": func(fn func(*tenant.Tx) error) error { return w.Operator.InExclusive(t.Context(), north.ID, "x", fn) },
		"Platform":    func(fn func(*tenant.Tx) error) error { return w.Operator.Platform(t.Context(), fn) },
		"ForLogin":    func(fn func(*tenant.Tx) error) error { return w.Operator.ForLogin(t.Context(), "i", "e", fn) },
	} {
		for n := range len(statements) + 1 {
			got := w.Trips(func() {
				if err := open(run(n)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			if want := 2 + n; got != want {
				t.Errorf("%s with %d statements: %d round trips, want %d", name, n, got, want)
			}
		}
		rolledBack := w.Trips(func() { _ = open(func(*tenant.Tx) error { return errEnough }) })
		if rolledBack != 2 {
			t.Errorf("%s, rolled back: %d round trips, want 2", name, rolledBack)
		}
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	const query = `select n from generate_series(1, 5) n where n <> $1`
	var got []int
	collect := func(stopAt int) func(*sqlx.Rows) error {
		return func(rows *sqlx.Rows) error {
			var n int
			if err := rows.Scan(&n); err != nil {
				return err
			}
			got = append(got, n)
			if n == stopAt {
				return errEnough
			}
			return nil
		}
	}
	err := w.Device.Platform(t.Context(), func(tx *tenant.Tx) error {
		if err := tx.Each(t.Context(), collect(3), query, 2); !errors.Is(err, errEnough) {
			t.Errorf("Each: %v, want the function's error", err)
		}
		return tx.Each(t.Context(), collect(0), query, 4) // the transaction goes on
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 3, 1, 2, 3, 5}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestViolates(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	err := w.Operator.In(t.Context(), north.ID, func(tx *tenant.Tx) error {
		_, err := tx.Exec(t.Context(), setAudienceSQL, "")
		return fmt.Errorf("wrapped: %w", err)
	})
	if !tenant.Violates(err, "tenant_setting_audience_form") {
		t.Errorf("Violates does not see %v", err)
	}
	if tenant.Violates(err, "tenant_setting_issuer_form") || tenant.Violates(err, "") {
		t.Error("Violates sees another constraint")
	}
	if tenant.Violates(nil, "x") || tenant.Violates(errEnough, "x") {
		t.Error("Violates sees a constraint where there is none")
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	for name, dsn := range map[string]string{
		"malformed":        "host=' nobody",
		"nobody listens":   "host=127.0.0.1 port=1 user=carillon_device sslmode=disable connect_timeout=5",
		"no such role":     w.Database.DSN("carillon_nobody"),
		"no such database": strings.Replace(w.Database.DSN("carillon_device"), "dbname='test_", "dbname='none_", 1),
	} {
		if db, err := tenant.Open(t.Context(), tenant.Config{DSN: dsn}); err == nil || db != nil {
			t.Errorf("%s: %v, %v, want an error", name, db, err)
		}
	}
	db := one(t, w, "carillon_device")
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := db.Ping(t.Context()); err == nil {
		t.Error("a closed handle answers")
	}
}

// Roles that could walk around row-level security, now or by changing into another,
// are refused.
func TestOpenRefusesPrivileged(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	super := w.Database.Super()
	exec := func(statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := super.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	// Roles belong to the server, not to the test's database.
	created := []string{"test_harmless"}
	t.Cleanup(func() {
		for _, role := range created {
			for _, s := range []string{`drop owned by ` + role + ` cascade`, `drop role ` + role} {
				if _, err := super.ExecContext(context.Background(), s); err != nil {
					t.Errorf("%s: %v", s, err)
				}
			}
		}
	})
	for name, statements := range map[string][]string{
		"test_bypasses":        {`create role test_bypasses login bypassrls`},
		"test_super":           {`create role test_super login superuser`},
		"test_owns":            {`create role test_owns login`, `alter table member owner to test_owns`},
		"test_owns_new":        {`create role test_owns_new login`, `create table harmless ()`, `alter table harmless owner to test_owns_new`},
		"test_may_become":      {`create role test_mighty bypassrls`, `create role test_may_become login`, `grant test_mighty to test_may_become`},
		"test_may_become_by_2": {`create role test_mighty_2 superuser`, `create role test_middle`, `grant test_mighty_2 to test_middle`, `create role test_may_become_by_2 login`, `grant test_middle to test_may_become_by_2`},
		"test_inherits_not":    {`create role test_mighty_3 bypassrls`, `create role test_inherits_not login noinherit`, `grant test_mighty_3 to test_inherits_not`},
		"test_is_another":      {`create role test_is_another login`, `grant carillon_device to test_is_another`, `alter role test_is_another set role = carillon_device`},
	} {
		for _, s := range statements {
			if words := strings.Fields(s); words[1] == "role" && words[0] == "create" {
				created = append(created, words[2])
			}
		}
		exec(statements...)
		db, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN(name)})
		if !errors.Is(err, tenant.ErrPrivileged) || db != nil {
			t.Errorf("%s: %v, want ErrPrivileged", name, err)
		}
	}
	if _, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN("")}); !errors.Is(err, tenant.ErrPrivileged) {
		t.Errorf("the server's superuser: %v, want ErrPrivileged", err)
	}
	exec(`create role test_harmless login`)
	db, err := tenant.Open(t.Context(), tenant.Config{DSN: w.Database.DSN("test_harmless")})
	if err != nil {
		t.Fatalf("a role without any privilege: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// The one who works alone waits until those who share have finished, sees what they
// wrote, and keeps them waiting meanwhile.
func TestExclusiveWaitsForShared(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	const lock tenant.Lock = "arrivals"
	release := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	errs := make(chan error, 4)

	var inside [2]chan struct{}
	for i := range inside {
		inside[i] = make(chan struct{})
		go func() {
			errs <- w.Operator.InShared(t.Context(), north.ID, lock, func(tx *tenant.Tx) error {
				close(inside[i])
				<-release[i]
				_, err := tx.Exec(t.Context(), `update tenant_setting set audience = audience || $1`, fmt.Sprint(i))
				return err
			})
		}()
	}
	<-inside[0]
	<-inside[1] // both share

	entered := make(chan string, 2)
	leave := make(chan struct{})
	go func() {
		errs <- w.Operator.InExclusive(t.Context(), north.ID, lock, func(tx *tenant.Tx) error {
			var seen string
			err := tx.Get(t.Context(), &seen, audienceSQL)
			entered <- seen
			<-leave
			return err
		})
	}()
	const waitingSQL = `select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database()) and mode = `
	eventually(t, w, "the exclusive one waits", waitingSQL+`'ExclusiveLock'`)
	if len(entered) != 0 {
		t.Error("entered while two share")
	}
	close(release[0])
	if err := <-errs; err != nil {
		t.Error(err)
	}
	eventually(t, w, "the exclusive one still waits", waitingSQL+`'ExclusiveLock'`)
	if len(entered) != 0 {
		t.Error("entered while one shares")
	}
	close(release[1])
	if err := <-errs; err != nil {
		t.Error(err)
	}
	if seen := <-entered; seen != anything+"01" {
		t.Errorf("the exclusive one sees %q, not all that was written before", seen)
	}

	go func() {
		errs <- w.Operator.InShared(t.Context(), north.ID, lock, func(*tenant.Tx) error {
			entered <- "late"
			return nil
		})
	}()
	eventually(t, w, "a later sharer waits", waitingSQL+`'ShareLock'`)
	if len(entered) != 0 {
		t.Error("a later sharer entered")
	}
	close(leave)
	<-entered
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// Locks of other names and of other tenants are other locks.
func TestOtherLocksDoNotWait(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	nothing := func(*tenant.Tx) error { return nil }
	err := w.Operator.InExclusive(t.Context(), north.ID, "arrivals", func(*tenant.Tx) error {
		return errors.Join(
			w.Operator.InExclusive(t.Context(), south.ID, "arrivals", nothing),
			w.Operator.InExclusive(t.Context(), north.ID, "departures", nothing),
			w.Operator.In(t.Context(), north.ID, nothing),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A waiter who gives up leaves no claim to the lock.
func TestGivingUpALock(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	nothing := func(*tenant.Tx) error { return nil }
	err := w.Operator.InShared(t.Context(), north.ID, "x", func(*tenant.Tx) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- w.Operator.InExclusive(ctx, north.ID, "x", nothing) }()
		eventually(t, w, "the exclusive one waits", `select count(*) > 0 from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())`)
		cancel()
		if err := <-done; err == nil {
			t.Error("the exclusive one got the lock")
		}
		return w.Operator.InShared(t.Context(), north.ID, "x", nothing)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Operator.InExclusive(t.Context(), north.ID, "x", nothing); err != nil {
		t.Error(err)
	}
}

func audience(t *testing.T, db *tenant.DB, id tenant.ID) (s string) {
	t.Helper()
	err := db.In(t.Context(), id, func(tx *tenant.Tx) error { return tx.Get(t.Context(), &s, audienceSQL) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func backend(t *testing.T, db *tenant.DB) (pid int) {
	t.Helper()
	err := db.Platform(t.Context(), func(tx *tenant.Tx) error { return tx.Get(t.Context(), &pid, `select pg_backend_pid()`) })
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

const noneOpenSQL = `select count(*) = 0 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null`

// eventually asks the server until it confirms. The test's own end bounds it.
func eventually(t *testing.T, w *tenanttest.World, what, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		var is bool
		if err := w.Database.Super().QueryRowContext(ctx, query).Scan(&is); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if is {
			return
		}
		runtime.Gosched()
	}
}
