package adminuitest

import (
	"context"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/export/shelf"
)

// Exports is a stand-in for what was published: hourly windows, each with a file of 1,000
// keys, but for the one before the newest, which is empty, and the newest, which is not made.
type Exports struct {
	Now func() time.Time
	// Windows is how many there are, Late whether the newest should be there, and Why.
	Windows int
	Late    bool
	Why     shelf.Why
	// Folder is a second configuration, if it has a name.
	Folder string
	// Finding is how the third window's file is in the store, Remake what was asked of it.
	Finding shelf.Finding
	Remake  shelf.Remake
	// Regenerated are the windows whose files are to be written again.
	Regenerated []time.Time
}

func (e *Exports) plans() []shelf.Plan {
	now := e.Now()
	p := shelf.Plan{ID: uuid.Nil, Period: time.Hour, Next: now.Add(time.Hour), Due: now.Add(3 * time.Hour), Listed: e.Windows, ListedBytes: 20_700 * int64(e.Windows)}
	if e.Late {
		since := now.Add(-time.Hour)
		p.LateSince, p.Why = &since, e.Why
	}
	if e.Folder == "" {
		return []shelf.Plan{p}
	}
	return []shelf.Plan{p, {ID: uuid.Max, Path: e.Folder, Period: 90 * time.Second, Ends: &now, Next: now.Add(time.Hour)}}
}

// Look has the windows of the first configuration, and Folder.
func (e *Exports) Look(_ context.Context, _ *tenant.Tenant, _ authz.Subject, path string, before time.Time, limit int) (shelf.View, error) {
	v := shelf.View{Plans: e.plans()}
	for _, p := range v.Plans {
		if p.Path == path {
			v.Plan = p
			if p.ID == uuid.Nil {
				v.Batches = e.batches(before, limit)
			}
			return v, nil
		}
	}
	return shelf.View{}, shelf.ErrNoPlan
}

func (e *Exports) batches(before time.Time, limit int) []shelf.Batch {
	var list []shelf.Batch
	newest := e.Now().Truncate(time.Second)
	for i := range e.Windows {
		from := newest.Add(-time.Duration(i+1) * time.Hour)
		if !from.Before(before) || len(list) == limit {
			continue
		}
		padding, received := 900, 40
		b := shelf.Batch{
			From: from, Until: from.Add(time.Hour), Published: &from, Files: 1, Keys: 1000, Revised: 3, Bytes: 20_700, Listed: true,
			Padding: &padding, Received: &received, Checked: &from, Finding: shelf.Sound,
		}
		switch i {
		case 0:
			b = shelf.Batch{From: from, Until: from.Add(time.Hour)}
		case 1:
			b = shelf.Batch{From: from, Until: from.Add(time.Hour), Published: &from}
		case 2:
			if e.Finding != "" {
				b.Finding, b.Remake = e.Finding, e.Remake
			}
		case 3: // an older release has made it
			b.Padding, b.Received, b.Checked, b.Finding = nil, nil, nil, shelf.Unchecked
		}
		list = append(list, b)
	}
	return list
}

// Regenerate knows the third window, and refuses if that needs nothing.
func (e *Exports) Regenerate(_ context.Context, _ *tenant.Tenant, _ authz.Subject, path string, start time.Time) error {
	third := e.Now().Truncate(time.Second).Add(-3 * time.Hour)
	if path != "" || !start.Equal(third) {
		return shelf.ErrNoPlan
	}
	if !e.Finding.Remakable() {
		return shelf.ErrSound
	}
	e.Remake = shelf.Asked
	e.Regenerated = append(e.Regenerated, start)
	return nil
}
