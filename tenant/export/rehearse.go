package export

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/signing/exportfile"
	"carillon/tenant"
)

// RehearsalPath is the folder of a rehearsal's index and file, as [config.Path] is that of
// a configuration's. No configuration may have it, and no index that phones read names
// what is in it.
func RehearsalPath(run uuid.UUID) string {
	return rehearsalStart + strings.ReplaceAll(run.String(), "-", "") + "/"
}

const (
	rehearsalStart = "rehearsal-"
	rehearsalFile  = "00001.zip"

	rehearsedSQL = `
  select tek, rolling_start, rolling_period, transmission_risk, days_since_onset
    from rehearsal_key
order by tek`
)

type rehearsed struct {
	TEK           []byte `db:"tek"`
	RollingStart  int32  `db:"rolling_start"`
	RollingPeriod int32  `db:"rolling_period"`
	Risk          int32  `db:"transmission_risk"`
	Days          int32  `db:"days_since_onset"`
}

func (r rehearsed) key() exportfile.Key {
	return exportfile.Key{
		Data: [16]byte(r.TEK), RollingStart: r.RollingStart, RollingPeriod: r.RollingPeriod,
		TransmissionRisk: r.Risk, ReportType: exportfile.Confirmed, DaysSinceOnset: r.Days, HasOnset: true,
	}
}

// ErrNothingRehearsed means that no key of a rehearsal has arrived.
var ErrNothingRehearsed = errors.New("no key of the rehearsal has arrived")

// Rehearse makes a file of the keys of the rehearsal that is under way, signed by the keys
// that sign the tenant's exports, and puts it and an index into a folder of the run's own.
// Those of earlier rehearsals go.
func (s *Service) Rehearse(ctx context.Context, t *tenant.Tenant, run uuid.UUID) error {
	signers, err := s.signers(ctx, t)
	if err != nil {
		return err
	}
	var keys []rehearsed
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &keys, rehearsedSQL) })
	if err != nil {
		return fmt.Errorf("read keys of the rehearsal: %w", err)
	}
	if len(keys) == 0 {
		return ErrNothingRehearsed
	}
	end := floor(s.now(), time.Hour)
	file := exportfile.File{Start: end.Add(-time.Hour), End: end, Region: t.Region}
	for _, k := range keys {
		file.Keys = append(file.Keys, k.key())
	}
	body, err := exportfile.Encode(file, signers)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if _, _, err := exportfile.Check(body, signers); err != nil {
		return fmt.Errorf("verify own output: %w", err)
	}
	prefix := Prefix(t) + RehearsalPath(run)
	if err := s.store.PutIfAbsent(ctx, prefix+rehearsalFile, body); err != nil {
		return fmt.Errorf("put file: %w", err)
	}
	if err := s.store.Replace(ctx, prefix+IndexName, []byte(rehearsalFile)); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return s.forgetRehearsals(ctx, t, prefix)
}

// forgetRehearsals deletes what is in folders of rehearsals, but for one.
func (s *Service) forgetRehearsals(ctx context.Context, t *tenant.Tenant, keep string) error {
	names, err := s.store.List(ctx, Prefix(t))
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, Prefix(t)+rehearsalStart) || strings.HasPrefix(name, keep) {
			continue
		}
		if err := s.store.Delete(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("delete file of an earlier rehearsal: %w", err)
		}
	}
	return nil
}
