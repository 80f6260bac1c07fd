package importer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lib/pq"

	"carillon/signing/certificate"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/exposure"
)

var (
	// errChanged means that a file is not the one whose keys were imported.
	errChanged = errors.New("its bytes have changed")
	// errOvertaken means that another process works on the file.
	errOvertaken = errors.New("another process works on it")
)

// fetchFile gets a file and its SHA-256: [errChanged] if that is not the known one.
func (s *Service) fetchFile(ctx context.Context, src *source, f file) (body []byte, digest [sha256.Size]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, fileTimeout)
	defer cancel()
	if body, err = s.fetcher.Get(ctx, src.Root+f.Name, exportfile.MaxZip); err != nil {
		return nil, digest, err
	}
	digest = sha256.Sum256(body)
	if f.SHA256 != nil && !bytes.Equal(f.SHA256, digest[:]) {
		err = errChanged
	}
	return body, digest, err
}

// work imports one file, or decides what becomes of it instead. An error is not the
// other server's.
func (s *Service) work(ctx context.Context, t *tenant.Tenant, src *source, f file) error {
	body, digest, err := s.fetchFile(ctx, src, f)
	if errors.Is(err, errChanged) {
		return s.setAside(ctx, t, src, f, digest)
	}
	var foreign *exportfile.Foreign
	if err == nil {
		foreign, err = exportfile.OpenForeign(body, src.keys)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return s.fail(ctx, t, src, f, err)
	}
	p := &progress{service: s, tenant: t, source: src, file: f, digest: digest, count: foreign.Count, position: f.Position}
	if err := p.run(ctx, foreign); err != nil {
		if errors.Is(err, errOvertaken) {
			return nil
		}
		return err
	}
	s.log.InfoContext(ctx, "import: file done", slog.String("tenant", string(t.Slug)), slog.String("import", src.Name),
		slog.String("file", f.Name), slog.Int("keys", foreign.Count))
	return nil
}

// progress takes the keys of a file in steps.
type progress struct {
	service *Service
	tenant  *tenant.Tenant
	source  *source
	file    file
	digest  [sha256.Size]byte
	// count is how many entries the file has, and position how many are dealt with.
	count, position int
	// next are those that come now.
	next []exportfile.Entry
}

// run deals with the entries after the position that was reached before, in the order
// of the file: in it, new keys come before revised ones.
func (p *progress) run(ctx context.Context, f *exportfile.Foreign) error {
	seen := 0
	err := f.Each(func(e exportfile.Entry) error {
		if seen++; seen <= p.position {
			return nil
		}
		p.next = append(p.next, e)
		if len(p.next) < p.service.keysPerStep {
			return nil
		}
		return p.take(ctx)
	})
	if err != nil {
		return err
	}
	return p.take(ctx)
}

const (
	// The condition is what keeps two processes from taking the same step.
	stepSQL = `
update import_file
   set sha256      = $4,
       position    = position + $5,
       stored      = stored + $6,
       revised     = revised + $7,
       known       = known + $8,
       quarantined = quarantined + $9,
       failure     = '',
       state       = case when $10::boolean then 'done' else state end,
       finished_at = case when $10 then $11::timestamptz end,
       checked_at  = case when $10 then $11::timestamptz end
 where import_no = $1
   and name = $2
   and position = $3
   and state = 'open'
   and (sha256 is null or sha256 = $4)`

	quarantineSQL = `
insert into import_quarantine (tenant_id, import_no, name, position, revised, reason)
select current_tenant(), $1, $2, q.position, q.revised, q.reason
  from unnest($3::integer[], $4::boolean[], $5::text[]) as q (position, revised, reason)`
)

// take stores the entries that were read, and how far that is, in one transaction.
func (p *progress) take(ctx context.Context) error {
	s, last := p.service, p.position+len(p.next) == p.count
	if len(p.next) == 0 && p.count > 0 {
		return nil // the step before was the last
	}
	if err := s.step("read"); err != nil {
		return err
	}
	var quarantined int
	err := s.db.InShared(ctx, p.tenant.ID, exposure.Arrivals, func(tx *tenant.Tx) error {
		done, bad, err := p.store(ctx, tx)
		if err != nil {
			return err
		}
		if err := s.step("stored"); err != nil {
			return err
		}
		rows, err := tx.Exec(ctx, stepSQL, p.source.No, p.file.Name, p.position, p.digest[:], len(p.next),
			done.Stored, done.Revised, done.Known, len(bad.reasons), last, s.now().UTC())
		if err != nil {
			return err
		}
		if rows == 0 {
			return errOvertaken
		}
		quarantined = len(bad.reasons)
		bad.cut(maxQuarantined - p.file.Quarantined)
		if _, err = tx.Exec(ctx, quarantineSQL, p.source.No, p.file.Name, bad.positions, bad.revised, bad.reasons); err != nil {
			return err
		}
		return s.step("noted")
	})
	if err == nil {
		err = s.step("committed")
	}
	if err != nil {
		return fmt.Errorf("keys from %d: %w", p.position, err)
	}
	p.position += len(p.next)
	p.file.Quarantined += quarantined
	p.next = p.next[:0]
	return nil
}

// refused are entries that are not imported.
type refused struct {
	positions pq.Int32Array
	revised   pq.BoolArray
	reasons   pq.StringArray
}

func (r *refused) add(position int, revised bool, reason string) {
	r.positions = append(r.positions, int32(position))
	r.revised = append(r.revised, revised)
	r.reasons = append(r.reasons, short(reason, maxProblem))
}

// cut leaves the first n.
func (r *refused) cut(n int) {
	n = min(max(n, 0), len(r.positions))
	r.positions, r.revised, r.reasons = r.positions[:n], r.revised[:n], r.reasons[:n]
}

// store imports the entries that were read, new ones before revisions of them.
func (p *progress) store(ctx context.Context, tx *tenant.Tx) (exposure.Imports, *refused, error) {
	var keys []exposure.Imported
	var places []int // of each key among the entries
	problems := make([]string, len(p.next))
	for i, e := range p.next {
		if problems[i] = e.Problem; e.Problem == "" {
			keys, places = append(keys, imported(e)), append(places, i)
		}
	}
	from := exposure.Source{
		No: p.source.No, Region: p.source.Region, Traveler: p.source.Traveler, MissingType: p.source.MissingType,
	}
	done, err := exposure.Import(ctx, tx, p.tenant, from, keys, p.service.limits, p.service.now())
	for i, why := range done.Refused {
		problems[places[i]] = string(why)
	}
	bad := &refused{}
	for i, why := range problems {
		if why != "" {
			bad.add(p.position+i, p.next[i].Revised, why)
		}
	}
	return done, bad, err
}

func imported(e exportfile.Entry) exposure.Imported {
	k := exposure.Imported{
		TEK: e.Key.Data, RollingStart: e.Key.RollingStart, RollingPeriod: e.Key.RollingPeriod,
		Risk: e.Key.TransmissionRisk, ReportType: reportType(e.Key.ReportType), Revised: e.Revised,
	}
	if e.Key.HasOnset {
		k.DaysSinceOnset = &e.Key.DaysSinceOnset
	}
	return k
}

// recursive is a type that phones give to what they were told, and no server has.
const recursive certificate.ReportType = "recursive"

func reportType(r exportfile.ReportType) certificate.ReportType {
	switch r {
	case exportfile.Confirmed:
		return certificate.Confirmed
	case exportfile.Clinical:
		return certificate.Likely
	case exportfile.SelfReport:
		return certificate.UserReport
	case exportfile.Revoked:
		return certificate.Negative
	case exportfile.Unknown:
		return ""
	case exportfile.Recursive:
		return recursive
	default:
		return recursive
	}
}
