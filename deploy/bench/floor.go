package bench

import (
	"context"
	"crypto/rand"
	"database/sql"
	"time"

	"github.com/google/uuid"
)

const (
	floorTableSQL = `
create table bench_floor (
  tenant_id   uuid        not null,
  digest      bytea       not null,
  expires_at  timestamptz not null,
  primary key (tenant_id, digest)
)`
	floorSQL = `insert into bench_floor (tenant_id, digest, expires_at) values ($1, $2, $3)`

	digestSize = 32
)

func (s *stack) makeFloor(ctx context.Context) error {
	db, err := sql.Open("postgres", s.dsn(""))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, floorTableSQL)
	return err
}

// floor measures how often per second so many callers can store a row: one prepared
// statement, which commits by itself, in one round trip on a connection of each
// caller's own.
func (s *stack) floor(ctx context.Context, callers int, long time.Duration) (load, error) {
	db, err := sql.Open("postgres", s.dsn(""))
	if err != nil {
		return load{}, err
	}
	defer db.Close()
	id := uuid.NewString()
	insert := make([]*sql.Stmt, callers)
	for i := range insert {
		conn, err := db.Conn(ctx)
		if err != nil {
			return load{}, err
		}
		defer func() { _ = conn.Close() }()
		insert[i], err = conn.PrepareContext(ctx, floorSQL) //nolint:sqlclosecheck // it ends with its connection
		if err != nil {
			return load{}, err
		}
	}
	// Without a context that can end, the driver watches for no end.
	free := context.WithoutCancel(ctx)
	l := closedLoop(ctx, callers, long, func(_ context.Context, caller int) error {
		digest := make([]byte, digestSize)
		rand.Read(digest)
		_, err := insert[caller].ExecContext(free, id, digest, time.Now())
		return err
	})
	return l, l.fatal()
}
