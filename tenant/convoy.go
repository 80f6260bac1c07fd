package tenant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Statement is one SQL statement that is a whole transaction: see [DB.Do].
type Statement struct {
	// SQL is a constant of the program that returns rows, of one column at least: a
	// select, or a change with a select around it or a returning clause.
	SQL string
	// Args are its parameters: nil, bool, int, int64, string, []byte, [time.Time],
	// [pq.ByteaArray], [pq.Int64Array] (without nulls), [pq.StringArray], or a
	// [driver.Valuer] of one of those, arrays excepted. A string is for a parameter
	// of type text.
	Args []any
	// Share is a lock that is held together with other sharers, as for [DB.InShared].
	Share Lock
}

// Row is one row of an answer.
type Row interface {
	// Scan puts the columns into what dest points to: string, bool, int64, []byte,
	// [time.Time], or an [sql.Scanner].
	Scan(dest ...any) error
}

// Do runs one statement as a transaction bound to the tenant, and calls each, which
// may be nil, for every row of the answer once it is committed. It is what
//
//	db.In(ctx, id, func(tx *Tx) error { return tx.Each(ctx, …) })
//
// would do, for less: one round trip, which statements that wait at the same moment
// share, and with it one transaction. A statement that comes when nothing is on the
// way leaves at once. Each statement is bound to its own tenant just before it runs,
// and sees what those before it have done, as if they had been committed.
//
// Sharing shows in three ways only. If any statement of the transaction fails, all of
// it is rolled back and each runs again by itself, so that a failure is one
// statement's own. The same happens if a lock is not to be had quickly. And what has
// been sent happens even if ctx ends; its caller only stops waiting, as it does when an
// answer is lost after the commit.
//
// A connection that is lost on the way leaves open what has happened, as it does after
// a commit: an error. There is no way to undo after reading the answer: what must not
// be done must be the statement's own condition.
func (db *DB) Do(ctx context.Context, id ID, s Statement, each func(Row) error) error {
	rows, err := db.answer(ctx, id, s)
	if err != nil || each == nil {
		return err
	}
	for _, r := range rows {
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) answer(ctx context.Context, id ID, s Statement) ([]row, error) {
	if !db.discreet {
		return db.alone(ctx, id, s)
	}
	p, err := s.passenger(id)
	if err != nil {
		return nil, err
	}
	db.convoys.join(ctx, p)
	select {
	case <-p.arrived:
	case <-ctx.Done():
		p.gone.Store(true)
		return nil, ctx.Err()
	}
	if errors.Is(p.err, errAlone) {
		return db.alone(ctx, id, s)
	}
	return p.rows, p.err
}

// alone runs the statement in a transaction of its own.
func (db *DB) alone(ctx context.Context, id ID, s Statement) (rows []row, err error) {
	bind := setTenant(id)
	if s.Share != "" {
		bind += lockSQL("pg_advisory_xact_lock_shared", id, s.Share)
	}
	err = db.run(ctx, bind, func(tx *Tx) error {
		return tx.Each(ctx, func(r *sqlx.Rows) error {
			columns, err := r.SliceScan()
			values := make(row, len(columns))
			for i, v := range columns {
				values[i] = v
			}
			rows = append(rows, values)
			return err
		}, s.SQL, s.Args...)
	})
	return rows, err
}

// passenger is a statement on its way.
type passenger struct {
	sql     string
	name    string        // under which a connection keeps it prepared
	text    string        // binds its tenant and executes it
	skip    int           // answers of text before the statement's own
	gone    atomic.Bool   // nobody waits for it any more
	arrived chan struct{} // closed when rows and err are there
	rows    []row
	err     error
}

func (s Statement) passenger(id ID) (*passenger, error) {
	const roughly = 1000
	p := &passenger{sql: s.SQL, name: preparedName(s.SQL), arrived: make(chan struct{})}
	b := append(make([]byte, 0, roughly), setTenant(id)...)
	if s.Share != "" {
		b = append(b, lockSQL("pg_advisory_xact_lock_shared", id, s.Share)...)
		p.skip = 1
	}
	b = append(b, "; execute "...)
	b = append(b, p.name...)
	sign := byte('(')
	for _, v := range s.Args {
		b = append(b, sign)
		var err error
		if b, err = appendLiteral(b, v); err != nil {
			return nil, err
		}
		sign = ','
	}
	if len(s.Args) > 0 {
		b = append(b, ')')
	}
	p.text = string(b)
	return p, nil
}

// names of prepared statements, by their text. The text's digest makes the name, so
// that whoever shares a connection means the same by it.
var preparedNames sync.Map

func preparedName(query string) string {
	if name, ok := preparedNames.Load(query); ok {
		return name.(string)
	}
	digest := sha256.Sum256([]byte(query))
	name := "carillon_" + hex.EncodeToString(digest[:8])
	preparedNames.Store(query, name)
	return name
}

const (
	// maxConvoys are on the way at once. One is mostly enough, and fuller than two would
	// be: a second one leaves when it would be full, or when the first has been away for
	// as long as late.
	maxConvoys = 2
	late       = 5 * time.Millisecond
	// maxPassengers bounds how much runs again if one of them fails.
	maxPassengers = 32
	// convoyTimeout ends what does not come back.
	convoyTimeout = 10 * time.Second
	// convoyPatience is how long a convoy waits for a lock before each of its
	// statements waits by itself.
	convoyPatience = "100ms"
)

// convoys take statements that wait to the database, many at a time.
type convoys struct {
	send func(ctx context.Context, all []*passenger)

	mu       sync.Mutex
	waiting  []*passenger // guarded by mu
	running  int          // guarded by mu
	departed time.Time    // when the last one did; guarded by mu
}

// join has p taken along by the next convoy: one that starts now, if another one is
// worth its while.
func (c *convoys) join(ctx context.Context, p *passenger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, p)
	if c.running < maxConvoys && c.worth(c.running) {
		c.running++
		go c.run(context.WithoutCancel(ctx))
	}
}

// worth reports whether those who wait need a convoy beside so many others. It is called
// with mu held.
func (c *convoys) worth(others int) bool {
	return others == 0 || len(c.waiting) >= maxPassengers ||
		time.Since(c.departed) > late
}

// run sends convoys until nobody waits.
func (c *convoys) run(ctx context.Context) {
	for all := c.board(); all != nil; all = c.board() {
		c.send(ctx, all)
		for _, p := range all {
			close(p.arrived)
		}
	}
}

// board takes those who wait, or ends the run.
func (c *convoys) board() []*passenger {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(p *passenger) bool { return p.gone.Load() })
	n := min(len(c.waiting), maxPassengers)
	if n == 0 || !c.worth(c.running-1) {
		c.running--
		return nil
	}
	c.departed = time.Now() //nolint:forbidigo // how long has really passed
	all := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	return all
}

// convoy takes passengers to the database and back.
func (db *DB) convoy(ctx context.Context, all []*passenger) {
	ctx, cancel := context.WithTimeout(ctx, convoyTimeout)
	defer cancel()
	err := recovered(func() error { return db.escort(ctx, all) })
	if err == nil {
		return
	}
	for _, p := range all {
		p.rows, p.err = nil, err
	}
}

// recovered makes an error of a panic, which nobody else here would stop, and which must
// not end the process: a convoy has a goroutine of its own. What the panic says is left
// out, because it may quote a statement.
func recovered(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("shared transaction: panic with a %T: %s", r, debug.Stack())
		}
	}()
	return do()
}

// escort finds a connection that leads to the server. If one has ended since it was last
// used, nothing has been sent, and another one is tried, as in [DB.begin].
func (db *DB) escort(ctx context.Context, all []*passenger) error {
	for others := db.pool.Stats().MaxOpenConnections; ; others-- {
		conn, err := db.pool.Connx(ctx)
		if err != nil {
			return fmt.Errorf("database connection: %w", err)
		}
		err = errUnsent // until something was sent
		_ = conn.Raw(func(c any) error {
			var again bool
			if again, err = c.(*preparing).convoy(ctx, all); !again {
				return driver.ErrBadConn // and database/sql throws the connection away
			}
			return nil
		})
		_ = conn.Close() // nothing is open on it
		if others == 0 || ctx.Err() != nil || !errors.Is(err, errUnsent) {
			return err
		}
	}
}

// errUnsent means that nothing has happened because the connection had ended.
var errUnsent = errors.New("the connection to the database has ended")

// errAlone means that nothing has happened, and that each statement must run by itself.
var errAlone = errors.New("the shared transaction was rolled back")

// convoy runs all statements in one transaction: [errAlone] if it was rolled back. After
// any other error it is open what has happened. It reports whether the connection is
// good for another one.
func (c *preparing) convoy(ctx context.Context, all []*passenger) (again bool, err error) {
	if !c.wire.quiet() {
		return false, errUnsent
	}
	err = c.prepareFor(ctx, all)
	departs := err == nil
	if departs {
		err = c.travel(ctx, all)
	}
	var answer *pq.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &answer):
	case !departs || c.wire.broken.Load(): // the server does nothing until it has all of a message
		return false, errUnsent
	default:
		return false, fmt.Errorf("shared transaction: %w", err)
	}
	// If the session is still there, it has refused the statement, and with it all of
	// them; otherwise the server has ended it, at whatever moment.
	if _, lost := c.pqConn.ExecContext(ctx, "rollback", nil); lost != nil {
		return false, fmt.Errorf("shared transaction: %w", &statementError{answer: answer, cause: err})
	}
	return answer.Code != planOutdated && answer.Code != unknownByName, errAlone
}

// prepareFor prepares what this connection has not met yet.
func (c *preparing) prepareFor(ctx context.Context, all []*passenger) error {
	for _, p := range all {
		if c.named[p.name] {
			continue
		}
		c.prepared.Add(1)
		_, err := c.pqConn.ExecContext(ctx, "prepare "+p.name+" as "+p.sql, nil)
		var answer *pq.Error
		if err != nil && (!errors.As(err, &answer) || answer.Code != knownByName) {
			return err
		}
		c.named[p.name] = true
	}
	return nil
}

// knownByName is Postgres's answer if a statement of this name, and so of this text, is
// prepared already: by another process, behind a pooler.
const knownByName = "42P05"

// travel sends all statements as one message, and reads their answers. They go in the
// order of their texts, so that convoys which want the same rows want them in the same
// order, and do not wait for each other for good.
func (c *preparing) travel(ctx context.Context, all []*passenger) error {
	slices.SortFunc(all, func(a, b *passenger) int { return strings.Compare(a.text, b.text) })
	size := len(convoyReplans) + len(convoyBegins) + len(convoyEnds)
	for _, p := range all {
		size += len(p.text)
	}
	text := make([]byte, 0, size)
	if now := time.Now(); now.Sub(c.planned) > planAge { //nolint:forbidigo // how long has really passed
		text, c.planned = append(text, convoyReplans...), now
	}
	text = append(text, convoyBegins...)
	for _, p := range all {
		text = append(text, p.text...)
	}
	text = append(text, convoyEnds...)
	rows, err := c.pqConn.QueryContext(ctx, string(text), nil)
	if err != nil {
		return err
	}
	return errors.Join(readAnswers(rows, all), rows.Close())
}

// planAge is how long a plan is kept. One that was made when a table was almost empty
// walks through all of a tenant's rows, and nothing tells the server that they are many
// now until it analyses the table, a minute later or more. Planning takes a millisecond.
const planAge = 2 * time.Second

const (
	convoyReplans = "discard plans; "
	convoyBegins  = "begin; set local lock_timeout = '" + convoyPatience + "'"
	convoyEnds    = "; commit"
)

// readAnswers reads the answer of each statement, and to the end: only then is the
// commit's known.
func readAnswers(rows driver.Rows, all []*passenger) error {
	answers, ok := rows.(driver.RowsNextResultSet)
	if !ok {
		return errors.New("the driver's rows lack a method")
	}
	first := true
	for _, p := range all {
		for range p.skip + 1 {
			if !first {
				if err := answers.NextResultSet(); err != nil {
					return fmt.Errorf("a statement returned no rows: %w", err)
				}
			}
			first = false
			var err error
			if p.rows, err = readAnswer(rows); err != nil {
				return err
			}
		}
	}
	if answers.HasNextResultSet() {
		return errors.New("there are more answers than statements")
	}
	return nil
}

func readAnswer(rows driver.Rows) (all []row, err error) {
	n := len(rows.Columns())
	for {
		values := make([]driver.Value, n)
		if err := rows.Next(values); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = bytes.Clone(b) // the driver uses its memory again
			}
		}
		all = append(all, values)
	}
}

// row holds what the driver has made of an answer's columns.
type row []driver.Value

// Scan is [Row.Scan].
func (r row) Scan(dest ...any) error {
	if len(dest) != len(r) {
		return fmt.Errorf("an answer of %d columns, read as %d", len(r), len(dest))
	}
	for i, v := range r {
		if err := assign(dest[i], v); err != nil {
			return fmt.Errorf("column %d of an answer: %w", i+1, err)
		}
	}
	return nil
}

func assign(dest any, v driver.Value) error {
	switch dest := dest.(type) {
	case *string:
		return assignTo(dest, v)
	case *bool:
		return assignTo(dest, v)
	case *int64:
		return assignTo(dest, v)
	case *[]byte:
		return assignTo(dest, v)
	case *time.Time:
		return assignTo(dest, v)
	case sql.Scanner:
		return dest.Scan(v)
	default:
		return fmt.Errorf("nothing is read as %T", dest)
	}
}

// assignTo converts as database/sql does.
func assignTo[T any](dest *T, v driver.Value) error {
	var n sql.Null[T]
	if err := n.Scan(v); err != nil {
		return err
	}
	if !n.Valid {
		return errors.New("null")
	}
	*dest = n.V
	return nil
}
