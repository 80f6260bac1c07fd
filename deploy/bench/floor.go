package bench

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// least is what a kind of request is compared with.
type least struct {
	// keys is how many exposure keys are stored at once; 0 stores one row that is small.
	keys int
	// file, if there is one, is what a bare server is asked for instead.
	file string
}

// The tables of the floor have what a stored row cannot do without: its columns, its
// key, and of exposure keys the index by which exports find them. There is no row
// security, and no check.
const (
	floorTablesSQL = `
create table bench_floor (
  tenant_id   uuid        not null,
  digest      bytea       not null,
  expires_at  timestamptz not null,
  primary key (tenant_id, digest)
);
create table bench_floor_keys (like exposure including defaults including indexes)`

	floorSQL = `insert into bench_floor (tenant_id, digest, expires_at) values ($1, $2, $3)`

	floorKeysSQL = `
insert into bench_floor_keys
       (tenant_id, tek, rolling_start, rolling_period, transmission_risk, report_type,
        days_since_onset, traveler, region, created_at)
select $1, k.tek, k.rolling_start, k.rolling_period, k.risk, 'confirmed', k.days, false, 'XA', k.created_at
  from unnest($2::bytea[], $3::integer[], $4::smallint[], $5::smallint[], $6::smallint[], $7::timestamptz[])
    as k (tek, rolling_start, rolling_period, risk, days, created_at)`

	digestSize, keySize = 32, 16
)

func (s *stack) makeFloor(ctx context.Context) error {
	db, err := sql.Open("postgres", s.dsn(""))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, floorTablesSQL)
	return err
}

// floor measures how often per second so many callers can do the least.
func (s *stack) floor(ctx context.Context, of least, callers int, long time.Duration) (load, error) {
	switch {
	case of.file != "":
		return s.floorFiles(ctx, of.file, callers, long)
	case of.keys > 0:
		id := uuid.NewString()
		return s.floorRows(ctx, floorKeysSQL, func() []any { return rowsOf(id, of.keys) }, callers, long)
	default:
		id := uuid.NewString()
		return s.floorRows(ctx, floorSQL, func() []any { return []any{id, random(digestSize), time.Now()} }, callers, long)
	}
}

// floorRows stores rows: one prepared statement, which commits by itself, in one round
// trip on a connection of each caller's own.
func (s *stack) floorRows(ctx context.Context, query string, args func() []any, callers int, long time.Duration) (load, error) {
	db, err := sql.Open("postgres", s.dsn(""))
	if err != nil {
		return load{}, err
	}
	defer db.Close()
	insert := make([]*sql.Stmt, callers)
	for i := range insert {
		conn, err := db.Conn(ctx)
		if err != nil {
			return load{}, err
		}
		defer func() { _ = conn.Close() }()
		insert[i], err = conn.PrepareContext(ctx, query) //nolint:sqlclosecheck // it ends with its connection
		if err != nil {
			return load{}, fmt.Errorf("floor: %w", err)
		}
	}
	// Without a context that can end, the driver watches for no end.
	free := context.WithoutCancel(ctx)
	l := closedLoop(ctx, callers, long, func(_ context.Context, caller int) error {
		_, err := insert[caller].ExecContext(free, args()...)
		return err
	})
	return l, l.fatal()
}

// rowsOf are the columns of so many keys, as a phone has them of so many days.
func rowsOf(id string, keys int) []any {
	var teks pq.ByteaArray
	var starts, periods, risks, days pq.Int32Array
	var created pq.StringArray
	now := time.Now().UTC().Truncate(time.Hour)
	today := int32(now.Truncate(24*time.Hour).Unix() / intervalSeconds)
	for i := range int32(keys) {
		teks = append(teks, random(keySize))
		starts = append(starts, today-i*dayIntervals)
		periods = append(periods, dayIntervals)
		risks = append(risks, 2)
		days = append(days, -i%dayIntervals)
		created = append(created, now.Format(time.RFC3339))
	}
	return []any{id, teks, starts, periods, risks, days, created}
}

const intervalSeconds, dayIntervals = 600, 144

func random(size int) []byte {
	b := make([]byte, size)
	rand.Read(b)
	return b
}
