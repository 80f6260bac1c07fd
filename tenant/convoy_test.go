package tenant_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/tenanttest"
)

const (
	// noteSQL leaves a trace of each time that it runs.
	noteSQL = `update tenant_setting set audience = audience || $1 returning audience`
	readSQL = `select audience from tenant_setting`
)

func note(text string) tenant.Statement { return tenant.Statement{SQL: noteSQL, Args: []any{text}} }

// answers asks for one text from each row.
func answers(ctx context.Context, db *tenant.DB, id tenant.ID, s tenant.Statement) (all []string, err error) {
	err = db.Do(ctx, id, s, func(r tenant.Row) error {
		var text string
		err := r.Scan(&text)
		all = append(all, text)
		return err
	})
	return all, err
}

// errand is a statement that travels with others, and what it came back with.
type errand struct {
	id        tenant.ID
	statement tenant.Statement
	got       []string
	err       error
}

// together has all errands travel in one convoy.
func together(t *testing.T, db *tenant.DB, all ...*errand) {
	t.Helper()
	leave := tenant.Gather(db)
	var group sync.WaitGroup
	for _, e := range all {
		group.Go(func() { e.got, e.err = answers(t.Context(), db, e.id, e.statement) })
	}
	leave(t.Context(), len(all))
	group.Wait()
}

// Every statement runs under its own tenant, whoever was before it, and after them
// nothing is bound.
func TestDoIsBoundToItsTenant(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	db := one(t, w, "carillon_operator")
	all := []*errand{
		{id: north.ID, statement: note("N")},
		{id: south.ID, statement: note("S")},
		{id: tenant.NewID(), statement: note("X")},
		{id: tenant.ID{}, statement: note("Y")},
		{id: north.ID, statement: note("N")},
		{id: tenant.NewID(), statement: tenant.Statement{SQL: readSQL}},
		{id: south.ID, statement: tenant.Statement{SQL: `select current_tenant()::text`}},
	}
	together(t, db, all...)
	for i, e := range all {
		if e.err != nil {
			t.Fatalf("errand %d: %v", i, e.err)
		}
	}
	for _, i := range []int{2, 3, 5} {
		if len(all[i].got) != 0 {
			t.Errorf("errand %d of no tenant found %q", i, all[i].got)
		}
	}
	if got := all[6].got; len(got) != 1 || got[0] != south.ID.String() {
		t.Errorf("bound to %q, want %s", got, south.ID)
	}
	if n, s := audience(t, w.Device, north.ID), audience(t, w.Device, south.ID); n != anything+"NN" || s != anything+"S" {
		t.Errorf("north has %q, south %q", n, s)
	}
	if got := []string{all[0].got[0], all[4].got[0]}; !slices.Contains(got, anything+"N") || !slices.Contains(got, anything+"NN") {
		t.Errorf("north's two statements answered %q, want one to see the other's change", got)
	}
	err := db.Platform(t.Context(), func(tx *tenant.Tx) error {
		var bound bool
		err := tx.Get(t.Context(), &bound, `select current_tenant() is not null`)
		if bound {
			t.Error("a transaction after the convoy is bound to a tenant")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A convoy costs one round trip, with or without locks, however many it takes along.
func TestConvoyRoundTrips(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	locked := note("l")
	locked.Share = "arrivals"
	var all []*errand
	for range tenant.MaxPassengers / 4 {
		all = append(all,
			&errand{id: north.ID, statement: note("n")}, &errand{id: south.ID, statement: note("s")},
			&errand{id: north.ID, statement: locked}, &errand{id: south.ID, statement: tenant.Statement{SQL: readSQL}})
	}
	for range 2 { // connections are made, statements prepared
		together(t, w.Operator, all...)
	}
	if got := w.Trips(func() { together(t, w.Operator, all...) }); got != 1 {
		t.Errorf("%d statements: %d round trips, want 1", len(all), got)
	}
	if got := w.Trips(func() { together(t, w.Operator, append(all, &errand{id: north.ID, statement: note("n")})...) }); got != 2 {
		t.Errorf("one statement more than a convoy takes: %d round trips, want 2", got)
	}
	if got := w.Trips(func() {
		if _, err := answers(t.Context(), w.Operator, north.ID, note("n")); err != nil {
			t.Error(err)
		}
	}); got != 1 {
		t.Errorf("a statement on its own: %d round trips, want 1", got)
	}
	for _, e := range all {
		if e.err != nil || len(e.got) != 1 {
			t.Errorf("%q, %v", e.got, e.err)
		}
	}
}

// A statement that fails is the only one that does; the others have run once.
func TestFailureIsOnesOwn(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	wrong := &errand{id: north.ID, statement: tenant.Statement{SQL: `update tenant_setting set code_digits = $1 returning 'x'`, Args: []any{5}}}
	broken := &errand{id: south.ID, statement: tenant.Statement{SQL: `select $1::int::text || nonsense`, Args: []any{5}}}
	zero := &errand{id: south.ID, statement: tenant.Statement{SQL: `select (1 / $1::int)::text`, Args: []any{0}}}
	good := []*errand{{id: north.ID, statement: note("n")}, {id: south.ID, statement: note("s")}, {id: south.ID, statement: note("s")}}
	for range 2 {
		together(t, w.Operator, append(good, wrong, broken, zero)...)
		if !tenant.Violates(wrong.err, "tenant_setting_code_digits_range") {
			t.Errorf("err = %v, want the constraint's", wrong.err)
		}
		var answer *pq.Error
		if !errors.As(broken.err, &answer) || answer.Code != "42703" {
			t.Errorf("err = %v, want an unknown column", broken.err)
		}
		if !errors.As(zero.err, &answer) || answer.Code != "22012" {
			t.Errorf("err = %v, want a division by zero", zero.err)
		}
		for i, e := range good {
			if e.err != nil || len(e.got) != 1 {
				t.Errorf("errand %d: %q, %v", i, e.got, e.err)
			}
		}
	}
	if n, s := audience(t, w.Device, north.ID), audience(t, w.Device, south.ID); n != anything+"nn" || s != anything+"ssss" {
		t.Errorf("north has %q, south %q", n, s)
	}
}

// Whoever has gone before departure does nothing; whoever goes after it only misses
// the answer.
func TestCallerGoes(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	leave := tenant.Gather(w.Operator)
	early, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := answers(early, w.Operator, north.ID, note("e")); !errors.Is(err, context.Canceled) {
		t.Errorf("gone before: %v", err)
	}
	stays := &errand{id: north.ID, statement: note("s")}
	var group sync.WaitGroup
	group.Go(func() { stays.got, stays.err = answers(t.Context(), w.Operator, stays.id, stays.statement) })
	leave(t.Context(), 2)
	group.Wait()
	if stays.err != nil || stays.got[0] != anything+"s" {
		t.Errorf("who stays: %q, %v", stays.got, stays.err)
	}

	holder := hold(t, w, north.ID)
	late, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := answers(late, w.Operator, north.ID, note("l"))
		gone <- err
	}()
	holder.awaitWaiter(t)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("gone after: %v", err)
	}
	holder.release(t)
}

// holder keeps the row of a tenant's settings locked.
type holder struct {
	w  *tenanttest.World
	tx *sql.Tx
}

func hold(t *testing.T, w *tenanttest.World, id tenant.ID) *holder {
	t.Helper()
	tx, err := w.Database.Super().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), `select from tenant_setting where tenant_id = $1 for update`, id); err != nil {
		t.Fatal(err)
	}
	return &holder{w, tx}
}

func (h *holder) release(t *testing.T) {
	t.Helper()
	if err := h.tx.Rollback(); err != nil {
		t.Error(err)
	}
}

// awaitWaiter returns when somebody waits for a lock of this database.
func (h *holder) awaitWaiter(t *testing.T) {
	t.Helper()
	until(t, "somebody waits", func() bool {
		var waits bool
		err := h.w.Database.Super().QueryRowContext(t.Context(), `
select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waits)
		return err == nil && waits
	})
}

// A statement that waits for a lock does not keep the others from their answers.
func TestSlowLockHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	holder := hold(t, w, north.ID)
	waits := make(chan *errand, 1)
	passes := &errand{id: south.ID, statement: note("s")}
	leave := tenant.Gather(w.Operator)
	go func() {
		e := &errand{id: north.ID, statement: note("n")}
		e.got, e.err = answers(t.Context(), w.Operator, e.id, e.statement)
		waits <- e
	}()
	var group sync.WaitGroup
	group.Go(func() { passes.got, passes.err = answers(t.Context(), w.Operator, passes.id, passes.statement) })
	leave(t.Context(), 2)
	group.Wait()
	if passes.err != nil || passes.got[0] != anything+"s" {
		t.Errorf("who need not wait: %q, %v", passes.got, passes.err)
	}
	holder.awaitWaiter(t)
	holder.release(t)
	if e := <-waits; e.err != nil || e.got[0] != anything+"n" {
		t.Errorf("who must wait: %q, %v", e.got, e.err)
	}
}

// A connection that ends on the way is an error for all, and nothing has happened; the
// next convoy finds another.
func TestConvoyIsLost(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north, south := w.Create("north"), w.Create("south")
	db := one(t, w, "carillon_operator")
	all := []*errand{
		{id: north.ID, statement: note("n")},
		{id: south.ID, statement: note("s")},
		{id: north.ID, statement: tenant.Statement{SQL: `select pg_terminate_backend(pg_backend_pid())::text`}},
	}
	for range 2 {
		together(t, db, all...)
		for i, e := range all {
			if e.err == nil {
				t.Errorf("errand %d: %q, want an error", i, e.got)
			}
		}
		if n, s := audience(t, w.Device, north.ID), audience(t, w.Device, south.ID); n != anything || s != anything {
			t.Errorf("north has %q, south %q", n, s)
		}
	}
	together(t, db, all[:2]...)
	for i, e := range all[:2] {
		if e.err != nil {
			t.Errorf("errand %d afterwards: %v", i, e.err)
		}
	}
}

// Convoys that want the same rows in all orders, and transactions between them, lose
// nothing and do nothing twice.
func TestConvoysMeet(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	tenants := []tenant.ID{w.Create("north").ID, w.Create("south").ID, w.Create("west").ID}
	const callers, times = 24, 15
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for i := range times {
				id := tenants[(caller+i*(1+caller%2))%len(tenants)]
				var err error
				if caller%8 == 0 {
					err = w.Operator.In(t.Context(), id, func(tx *tenant.Tx) error {
						_, err := tx.Exec(t.Context(), noteSQL, ".")
						return err
					})
				} else {
					_, err = answers(t.Context(), w.Operator, id, note("."))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	notes := 0
	for _, id := range tenants {
		notes += strings.Count(strings.TrimPrefix(audience(t, w.Device, id), anything), ".")
	}
	if notes != callers*times {
		t.Errorf("%d notes, want %d", notes, callers*times)
	}
}

// While the server would write failed statements into its log, none has arguments in
// its text: each runs by itself.
func TestNoConvoysIfTheLogTells(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	_, err := w.Database.Super().ExecContext(t.Context(), `
do $$ begin execute format('alter database %I set log_min_error_statement = error', current_database()); end $$`)
	if err != nil {
		t.Fatal(err)
	}
	db := w.Open("carillon_operator")
	for range 2 {
		got := w.Trips(func() {
			if got, err := answers(t.Context(), db, north.ID, note("n")); err != nil || len(got) != 1 {
				t.Errorf("%q, %v", got, err)
			}
		})
		const begin, statement, commit = 1, 1, 1
		if got < begin+statement+commit {
			t.Errorf("%d round trips: arguments were in the text", got)
		}
	}
}

// A change of the schema under a prepared statement is not the caller's concern.
func TestConvoyAfterMigration(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	db := one(t, w, "carillon_operator")
	statement := tenant.Statement{SQL: `select p.* from platform p`}
	read := func(columns int) {
		t.Helper()
		err := db.Do(t.Context(), north.ID, statement, func(r tenant.Row) error {
			dest := make([]any, columns)
			for i := range dest {
				dest[i] = new(sql.Null[string])
			}
			return r.Scan(dest...)
		})
		if err != nil {
			t.Error(err)
		}
	}
	read(2)
	if _, err := w.Database.Super().ExecContext(t.Context(), `alter table platform add column more integer not null default 1`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		read(3)
	}
}

func TestRowScan(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	var (
		text string
		yes  bool
		n    int64
		b    []byte
		at   time.Time
		id   tenant.ID
		none sql.Null[string]
	)
	s := tenant.Statement{SQL: `select 'é', true, 7::smallint, '\x00ff'::bytea, timestamptz '2026-11-25 15:04:05Z', current_tenant(), null::text`}
	for range 2 {
		err := w.Device.Do(t.Context(), north.ID, s, func(r tenant.Row) error {
			if r.Scan(&text) == nil || r.Scan(&none, &none, &none, &none, &none, &none, &text) == nil {
				t.Error("an answer of another form can be scanned")
			}
			return r.Scan(&text, &yes, &n, &b, &at, &id, &none)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if text != "é" || !yes || n != 7 || !bytes.Equal(b, []byte{0, 255}) || !at.Equal(tenanttest.Start) || id != north.ID || none.Valid {
		t.Error(text, yes, n, b, at, id, none)
	}
	if err := w.Device.Do(t.Context(), north.ID, s, func(tenant.Row) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("err = %v, want the function's", err)
	}
}

// literalSQL answers its parameters, one of each kind, so that they can be compared with
// what was sent.
const literalSQL = `
select $1::text, $2::bytea, $3::bigint::text, $4::text[]::text, $5::bytea[]::text, $6::bigint[]::text,
       $7::timestamptz, $8::boolean::text, $9::uuid::text`

// arguments are parameters of literalSQL.
func arguments(text string, raw []byte, n int64, at time.Time, yes bool, id tenant.ID) []any {
	return []any{
		text, raw, n, pq.StringArray{text, "", text}, pq.ByteaArray{raw, nil, {}}, pq.Int64Array{n, 0, -n}, at, yes, id,
	}
}

// FuzzLiteral sends every kind of argument both ways, in the text of a convoy and as the
// driver's parameter: Postgres must have read the same, and what was meant.
func FuzzLiteral(f *testing.F) {
	w := tenanttest.New(f)
	north := w.Create("north")
	_, err := w.Database.Super().ExecContext(f.Context(), `
do $$ begin execute format('alter role carillon_portal in database %I set standard_conforming_strings = off', current_database()); end $$`)
	if err != nil {
		f.Fatal(err)
	}
	handles := []*tenant.DB{w.Operator, w.Open("carillon_portal")}
	for _, text := range []string{"", "plain text", `'); drop table platform; --`, `\'`, `\\`, "é\u2028\n\r\t", `{"a",b}`, `"`, `$$`, "\x00", "\xff", `E'\x27'`, strings.Repeat("'", 100)} {
		f.Add(text, []byte(text), int64(len(text)), int64(1764083045), true)
	}
	f.Add("a", []byte{0x27, 0x5c, 0, 0xff}, int64(-1<<63), int64(-62135596800), false)
	f.Fuzz(func(t *testing.T, text string, raw []byte, n, unix int64, yes bool) {
		at := time.Unix(unix, unix&0xfffff*1000).UTC()
		args := arguments(text, raw, n, at, yes, north.ID)
		for _, db := range handles {
			sent, err := columns(t.Context(), db, north.ID, literalSQL, args)
			driver, other := parameters(t.Context(), db, north.ID, literalSQL, args)
			if err != nil {
				if other == nil && at.Year() >= 1 && at.Year() <= 9999 {
					t.Fatalf("refused: %v; the driver takes it", err)
				}
				continue
			}
			if other != nil || !slices.Equal(sent, driver) {
				t.Fatalf("sent %q, by the driver %q (%v)", sent, driver, other)
			}
			if sent[0] != text || sent[1] != string(raw) || sent[2] != fmt.Sprint(n) {
				t.Fatalf("sent %q, %q, %d; read %q", text, raw, n, sent)
			}
		}
	})
}

func columns(ctx context.Context, db *tenant.DB, id tenant.ID, query string, args []any) (all []string, err error) {
	err = db.Do(ctx, id, tenant.Statement{SQL: query, Args: args}, func(r tenant.Row) error {
		all = make([]string, 9)
		dest := make([]any, len(all))
		for i := range all {
			dest[i] = &all[i]
		}
		return r.Scan(dest...)
	})
	return all, err
}

func parameters(ctx context.Context, db *tenant.DB, id tenant.ID, query string, args []any) (all []string, err error) {
	err = db.In(ctx, id, func(tx *tenant.Tx) error {
		all = make([]string, 9)
		return tx.Each(ctx, func(r *sqlx.Rows) error {
			dest := make([]any, len(all))
			for i := range all {
				dest[i] = &all[i]
			}
			return r.Scan(dest...)
		}, query, args...)
	})
	return all, err
}

// What cannot be an argument is refused before anything is sent.
func TestNoArgument(t *testing.T) {
	t.Parallel()
	w := tenanttest.New(t)
	north := w.Create("north")
	for name, v := range map[string]any{
		"a struct": struct{}{}, "a float": 1.5, "a text with a zero byte": "a\x00", "no UTF-8": "\xff", "a driver's array": pq.Array([]float64{1}),
		"a time before the first year": time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), "a map": map[string]string{}, "a pointer": new(string),
	} {
		got := w.Trips(func() {
			if _, err := answers(t.Context(), w.Operator, north.ID, tenant.Statement{SQL: `select $1::text`, Args: []any{v}}); err == nil {
				t.Errorf("%s was sent", name)
			}
		})
		if got != 0 {
			t.Errorf("%s: %d round trips", name, got)
		}
	}
}
