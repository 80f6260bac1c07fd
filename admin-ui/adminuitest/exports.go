package adminuitest

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

// Exports is a stand-in for what was published: hourly windows, each with a file of 1,000
// keys, but for the one before the newest, which is empty, and the newest, which is not made.
type Exports struct {
	Now func() time.Time
	// Windows is how many there are, Late whether the newest should be there.
	Windows int
	Late    bool
	// Folder is a second configuration, if it has a name.
	Folder string
}

// Plans has the first configuration, and Folder.
func (e *Exports) Plans(context.Context, *tenant.Tenant) ([]shelf.Plan, error) {
	now := e.Now()
	p := shelf.Plan{ID: uuid.Nil, Period: time.Hour, Next: now.Add(time.Hour), Due: now.Add(3 * time.Hour)}
	if e.Late {
		since := now.Add(-time.Hour)
		p.LateSince = &since
	}
	if e.Folder == "" {
		return []shelf.Plan{p}, nil
	}
	return []shelf.Plan{p, {ID: uuid.Max, Path: e.Folder, Period: 90 * time.Second, Ends: &now, Next: now.Add(time.Hour)}}, nil
}

// Batches has those of the first configuration.
func (e *Exports) Batches(_ context.Context, _ *tenant.Tenant, plan uuid.UUID, before time.Time, limit int) ([]shelf.Batch, error) {
	var list []shelf.Batch
	for i := range e.Windows {
		from := e.Now().Add(-time.Duration(i+1) * time.Hour)
		if plan != uuid.Nil || !from.Before(before) || len(list) == limit {
			continue
		}
		b := shelf.Batch{From: from, Until: from.Add(time.Hour), Published: &from, Files: 1, Keys: 1000, Revised: 3, Bytes: 20_700, Listed: true}
		switch i {
		case 0:
			b = shelf.Batch{From: from, Until: from.Add(time.Hour)}
		case 1:
			b.Files, b.Keys, b.Revised, b.Bytes, b.Listed = 0, 0, 0, 0, false
		}
		list = append(list, b)
	}
	return list, nil
}
