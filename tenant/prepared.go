package tenant

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// connector makes connections that prepare each statement with parameters once:
// reading and planning a statement costs Postgres more than running it.
type connector struct {
	*pq.Connector
	dialer          pq.Dialer // nil is the usual one
	trips, prepared *atomic.Int64
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	w := &wiring{dialer: c.dialer, trips: c.trips}
	wired := *c.Connector
	wired.Dialer(w)
	made, err := wired.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := made.(pqConn)
	if !ok {
		return nil, errors.Join(errors.New("the driver's connection lacks a method"), made.Close())
	}
	return &preparing{
		pqConn: conn, wire: w.wire.Load(), prepared: c.prepared, statements: map[string]statement{}, named: map[string]bool{},
	}, nil
}

// pqConn is what the driver's connections can do.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// statement is what the driver's prepared statements can do.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// preparing is a connection that keeps its statements prepared. Their number is that
// of the constants in the code, and maxPrepared at most.
type preparing struct {
	pqConn
	wire       *wire
	prepared   *atomic.Int64
	statements map[string]statement
	named      map[string]bool // those of convoys, by name
	planned    time.Time       // when convoys last had theirs planned anew
}

const maxPrepared = 200

func (c *preparing) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query, args)
	if s == nil {
		if err != nil {
			return nil, err
		}
		return c.pqConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	c.forget(query, err)
	return rows, err
}

func (c *preparing) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	s, err := c.statement(ctx, query, args)
	if s == nil {
		if err != nil {
			return nil, err
		}
		return c.pqConn.ExecContext(ctx, query, args)
	}
	result, err := s.ExecContext(ctx, args)
	c.forget(query, err)
	return result, err
}

// statement is the prepared form of a query; nil if it has none.
func (c *preparing) statement(ctx context.Context, query string, args []driver.NamedValue) (statement, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if s, ok := c.statements[query]; ok {
		return s, nil
	}
	if len(c.statements) >= maxPrepared {
		return nil, nil
	}
	c.prepared.Add(1)
	made, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	s, ok := made.(statement)
	if !ok {
		return nil, errors.Join(errors.New("the driver's statement lacks a method"), made.Close())
	}
	c.statements[query] = s
	return s, nil
}

// Postgres's answers for a statement that must be prepared again: the schema has
// changed under it, or a pooler has lost it.
const (
	planOutdated  = "0A000"
	unknownByName = "26000"
)

func (c *preparing) forget(query string, err error) {
	var answer *pq.Error
	if errors.As(err, &answer) && (answer.Code == planOutdated || answer.Code == unknownByName) {
		delete(c.statements, query)
	}
}
