package tenant

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Config says how to reach the database as one of the process roles.
type Config struct {
	// DSN is a lib/pq connection string. It should set binary_parameters=yes:
	// then a query with parameters is one round trip.
	DSN string
	// MaxOpen bounds the connections; zero means 16. Callers beyond it wait
	// until their context ends.
	MaxOpen int
	// Dialer, if set, makes the connections; tests cut them with it.
	Dialer pq.Dialer
	// Watch listens for changes to tenants, on one more connection: see [NewCache].
	Watch bool
}

// DB is a pool of connections under one process role. It has no query methods:
// see [DB.In].
type DB struct {
	pool            *sqlx.DB
	trips, prepared atomic.Int64
	watch           *watch // nil if there is none
	convoys         convoys
	discreet        bool // the server keeps failed statements out of its log
}

// ErrPrivileged means that a process was given a database role which could walk
// around row-level security.
var ErrPrivileged = errors.New("the database role is a superuser, may bypass row security, or owns tables: give this process its own role (carillon_device, carillon_issuer, carillon_report, carillon_publish, carillon_portal, carillon_jobs or carillon_operator)")

const defaultMaxOpen = 16

// Open connects and proves that the role is an unprivileged one: [ErrPrivileged]
// if not. The caller closes the handle.
func Open(ctx context.Context, c Config) (*DB, error) {
	driver, err := pq.NewConnector(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("database connection string: %w", err)
	}
	db := &DB{}
	if c.MaxOpen == 0 {
		c.MaxOpen = defaultMaxOpen
	}
	db.pool = sqlx.NewDb(sql.OpenDB(connector{Connector: driver, dialer: c.Dialer, trips: &db.trips, prepared: &db.prepared}), "postgres")
	db.pool.SetMaxOpenConns(c.MaxOpen)
	db.pool.SetMaxIdleConns(c.MaxOpen)
	db.pool.SetConnMaxIdleTime(5 * time.Minute)
	db.convoys.send = db.convoy
	if err := db.examine(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if c.Watch {
		if db.watch, err = startWatch(ctx, c.DSN, db.greet); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

func (db *DB) greet(ctx context.Context, greeting string) error {
	_, err := db.pool.ExecContext(ctx, `select pg_notify($1, $2)`, changeChannel, greeting)
	return err
}

// The session's role and the current role must both be harmless: either could
// have been changed by a setting of the role or of the connection string.
const privilegedSQL = `
select exists (select
         from pg_roles r
        where pg_has_role(session_user, r.oid, 'member')
          and (r.rolsuper or r.rolbypassrls
               or exists (select from pg_class c
                           where c.relowner = r.oid
                             and c.relnamespace = 'public'::regnamespace)))
    or current_user <> session_user`

// A convoy's statements have their arguments in their text, which the server would
// write into its log if one of them failed, unless it is told to keep them out.
const discreetSQL = `select current_setting('log_min_error_statement') = 'panic'`

// Shares reports whether statements of [DB.Do] share their transactions: not if the server
// would log those that fail, with what stands in them.
func (db *DB) Shares() bool { return db.discreet }

func (db *DB) examine(ctx context.Context) error {
	var privileged bool
	if err := db.pool.GetContext(ctx, &privileged, privilegedSQL); err != nil {
		return fmt.Errorf("examine database role: %w", err)
	}
	if privileged {
		return ErrPrivileged
	}
	if err := db.pool.GetContext(ctx, &db.discreet, discreetSQL); err != nil {
		return fmt.Errorf("examine the server's log: %w", err)
	}
	return nil
}

// Close ends all connections.
func (db *DB) Close() error {
	var err error
	if db.watch != nil {
		err = db.watch.close()
	}
	return errors.Join(err, db.pool.Close())
}

// Ping asks the server for an answer.
func (db *DB) Ping(ctx context.Context) error { return db.pool.PingContext(ctx) }

// In runs fn in a transaction bound to the tenant: every statement sees that
// tenant's rows and no others. It commits if fn returns nil and rolls back if it
// returns an error or panics. Opening costs one round trip, committing another.
//
// A statement that fails dooms the transaction, whatever fn returns. Nothing
// slow or remote belongs inside fn.
func (db *DB) In(ctx context.Context, id ID, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id), fn)
}

// Lock names an advisory lock that each tenant has for itself.
type Lock string

// InShared is [DB.In] while holding the tenant's lock together with other
// sharers. Taking it costs no extra round trip. Statements of fn see all that
// was committed before the lock was granted.
func (db *DB) InShared(ctx context.Context, id ID, lock Lock, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id)+lockSQL("pg_advisory_xact_lock_shared", id, lock), fn)
}

// InExclusive is [DB.In] while holding the tenant's lock alone.
func (db *DB) InExclusive(ctx context.Context, id ID, lock Lock, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id)+lockSQL("pg_advisory_xact_lock", id, lock), fn)
}

// InSharing is [DB.InShared] for the role carillon_jobs, which takes on another for this
// transaction: one that also sees the keys other tenants share with this one, and may do
// little else. It alone does, and it changes no rows but the tenant's.
func (db *DB) InSharing(ctx context.Context, id ID, lock Lock, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id)+lockSQL("pg_advisory_xact_lock_shared", id, lock)+"; set local role carillon_sharing", fn)
}

// InKeeping is [DB.InExclusive] for the role carillon_jobs, which takes on another for this
// transaction: one that may make, use, retire and destroy the tenant's keys of every
// purpose, reads the secret of none, and may do little else.
func (db *DB) InKeeping(ctx context.Context, id ID, lock Lock, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id)+lockSQL("pg_advisory_xact_lock", id, lock)+"; set local role carillon_keeping", fn)
}

// InKeyList is [DB.In] for the role carillon_portal, which takes on another for this
// transaction: one that sees which keys the tenant has, and no secret of any.
func (db *DB) InKeyList(ctx context.Context, id ID, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id)+"; set local role carillon_key_list", fn)
}

// Role is one that nobody can log in as, and that a process takes on by name for a
// transaction: see [DB.InRole].
type Role string

// The roles that are taken on.
const (
	// Eraser empties the tables of the bound tenant, if that was erased. The role
	// carillon_jobs takes it on.
	Eraser Role = "carillon_erasure"
	// Archivist reads what goes into an archive of the bound tenant, while one is asked
	// for. The role carillon_jobs takes it on.
	Archivist Role = "carillon_archive"
	// Importer writes the rows of a tenant that the same transaction has made. The role
	// carillon_operator takes it on.
	Importer Role = "carillon_import"
)

// InRole is [DB.In] under another role than the process's own, which has none of its
// rights otherwise.
func (db *DB) InRole(ctx context.Context, id ID, r Role, fn func(*Tx) error) error {
	return db.run(ctx, setTenant(id)+"; set local role "+pq.QuoteIdentifier(string(r)), fn)
}

// InSnapshot is [DB.InRole] in which all statements see one moment, and none writes.
func (db *DB) InSnapshot(ctx context.Context, id ID, r Role, fn func(*Tx) error) error {
	return db.run(ctx, "; set transaction isolation level repeatable read, read only"+setTenant(id)+"; set local role "+pq.QuoteIdentifier(string(r)), fn)
}

// Platform runs fn in a transaction bound to no tenant: it sees the few tables
// that have none (the directory, login sessions), and no row of any other.
func (db *DB) Platform(ctx context.Context, fn func(*Tx) error) error {
	return db.run(ctx, "", fn)
}

// ForLogin runs fn in a transaction bound to no tenant, in which a person who
// signed in through issuer with this e-mail address may read her own memberships
// of every tenant, and no other row of any.
func (db *DB) ForLogin(ctx context.Context, issuer, email string, fn func(*Tx) error) error {
	set := "; set local carillon.login_issuer = " + pq.QuoteLiteral(issuer) +
		"; set local carillon.login_email = " + pq.QuoteLiteral(email)
	return db.run(ctx, set, fn)
}

// ForDomain runs fn in a transaction bound to no tenant, in which somebody who has named
// the domain of her e-mail address may read which tenants have proved that it is theirs,
// and no other row of any tenant.
func (db *DB) ForDomain(ctx context.Context, domain string, fn func(*Tx) error) error {
	return db.run(ctx, "; set local carillon.login_domain = "+pq.QuoteLiteral(domain), fn)
}

// ForKey runs fn in a transaction bound to no tenant, in which whoever holds a device
// key with this SHA-256 digest may read that key's own row, and no other row of any
// tenant.
func (db *DB) ForKey(ctx context.Context, digest [sha256.Size]byte, fn func(*Tx) error) error {
	return db.run(ctx, "; set local carillon.key_digest = '"+hex.EncodeToString(digest[:])+"'", fn)
}

func setTenant(id ID) string { return "; set local carillon.tenant_id = '" + id.String() + "'" }

func lockSQL(function string, id ID, lock Lock) string {
	h := fnv.New64a()
	h.Write(id[:])
	h.Write([]byte(lock))
	return "; select " + function + "(" + strconv.FormatInt(int64(h.Sum64()), 10) + ")"
}

// run opens the transaction and binds it in one round trip: statements without
// parameters travel together.
func (db *DB) run(ctx context.Context, bind string, fn func(*Tx) error) (err error) {
	conn, err := db.begin(ctx, bind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ignoreDone(conn.Close())) }()
	tx := &Tx{conn: conn}
	finished := false
	defer func() {
		if !finished { // fn panicked
			rollback(ctx, conn)
		}
	}()
	err = fn(tx)
	finished = true
	if err == nil {
		err = tx.failed
	}
	if err != nil {
		rollback(ctx, conn)
		return err
	}
	if _, err := conn.ExecContext(ctx, "commit"); err != nil {
		discard(conn)
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// begin opens a transaction on a connection of the pool. That the server has been
// restarted since a connection was last used shows only now. Nothing of the caller's has
// been sent then, so that another connection is tried, until the pool can have no more
// of them.
func (db *DB) begin(ctx context.Context, bind string) (*sqlx.Conn, error) {
	for others := db.pool.Stats().MaxOpenConnections; ; others-- {
		conn, err := db.pool.Connx(ctx)
		if err != nil {
			return nil, fmt.Errorf("database connection: %w", err)
		}
		if _, err = conn.ExecContext(ctx, "begin"+bind); err == nil {
			return conn, nil
		}
		discard(conn)
		err = errors.Join(err, ignoreDone(conn.Close()))
		if others == 0 || ctx.Err() != nil || answered(err) {
			return nil, fmt.Errorf("begin: %w", err)
		}
	}
}

// answered reports whether an error is the server's answer, and not the want of one.
func answered(err error) bool {
	var answer *pq.Error
	return errors.As(err, &answer)
}

const rollbackTimeout = 5 * time.Second

// rollback must happen even if ctx has ended; a connection that cannot do it is
// thrown away, which ends its transaction too.
func rollback(ctx context.Context, conn *sqlx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "rollback"); err != nil {
		discard(conn)
	}
}

// discard keeps a connection in an unknown state from being used again.
func discard(conn *sqlx.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return err
}

// Tx is a transaction of a [DB]. It is for one goroutine, and ends with the
// function that was given it.
type Tx struct {
	conn   *sqlx.Conn
	failed error
}

// Get scans the single row of a query into dest; sql.ErrNoRows if there is none.
func (tx *Tx) Get(ctx context.Context, dest any, query string, args ...any) error {
	return tx.note(tx.conn.GetContext(ctx, dest, query, args...))
}

// Select scans all rows of a query into the slice that dest points to. The query
// bounds their number.
func (tx *Tx) Select(ctx context.Context, dest any, query string, args ...any) error {
	return tx.note(tx.conn.SelectContext(ctx, dest, query, args...))
}

// Exec runs a statement and returns how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := tx.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, tx.note(err)
	}
	return result.RowsAffected()
}

// Rebind binds the transaction to another tenant: what follows sees that one's rows and
// no others. It is for an act between two tenants, each of which keeps its own record.
func (tx *Tx) Rebind(ctx context.Context, id ID) error {
	_, err := tx.Exec(ctx, `select set_config('carillon.tenant_id', $1, true)`, id.String())
	return err
}

// Each calls scan for every row of a query without holding them all.
func (tx *Tx) Each(ctx context.Context, scan func(*sqlx.Rows) error, query string, args ...any) error {
	rows, err := tx.conn.QueryxContext(ctx, query, args...)
	if err != nil {
		return tx.note(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return tx.note(rows.Err())
}

// note remembers a failed statement: after it, Postgres would answer commit with
// a silent rollback.
func (tx *Tx) note(err error) error {
	var answer *pq.Error
	if errors.As(err, &answer) {
		err = &statementError{answer: answer, cause: err}
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) && tx.failed == nil {
		tx.failed = err
	}
	return err
}

// statementError is Postgres's answer to a statement, without its words: they may
// quote a value, and errors are logged.
type statementError struct {
	answer *pq.Error
	cause  error // the answer, and what else the driver says
}

func (e *statementError) Error() string {
	text := "database answers " + string(e.answer.Code) + " (" + e.answer.Code.Name() + ")"
	for _, part := range []string{e.answer.Table, e.answer.Column, e.answer.Constraint} {
		if part != "" {
			text += " " + part
		}
	}
	return text
}

// Unwrap lets errors.As find the answer, and errors.Is a cancellation.
func (e *statementError) Unwrap() error { return e.cause }

// Violates reports whether err is a violation of the named constraint.
func Violates(err error, constraint string) bool {
	var pe *pq.Error
	return errors.As(err, &pe) && pe.Constraint == constraint
}
