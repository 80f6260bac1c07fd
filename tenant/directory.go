package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"carillon/tenant/cache"
)

// Directory finds tenants by the names that requests carry. Answers are kept for
// up to [DirectoryAge], so that a device request costs no round trip for it.
type Directory struct {
	db       *DB
	byName   *cache.Cache[name, *Tenant]
	platform *cache.Cache[struct{}, bool]
	// unknown are names that had no tenant a moment ago, familiar those that have had
	// one: under a flood of made-up names the one is cheap and the other is unharmed.
	unknown  *cache.Aged[name, struct{}]
	familiar *lru.Cache[name, struct{}]
	held     atomic.Bool
}

// DirectoryAge is how long a change to a tenant may take to be seen by every process, also
// by one that does not hear of it.
const DirectoryAge = 900 * time.Millisecond

const directorySize = 10_000

// name is one way to name a tenant; exactly one field is set.
type name struct {
	slug, healthAuthorityID, host, region string
	id                                    ID
}

// NewDirectory returns the directory as seen through db, under any role.
func NewDirectory(db *DB) *Directory {
	familiar, err := lru.New[name, struct{}](directorySize)
	if err != nil {
		panic(err) // only for a size below one
	}
	d := &Directory{db: db, familiar: familiar, unknown: cache.NewAged[name, struct{}](directorySize, DirectoryAge)}
	d.byName = NewCache(db, directorySize, DirectoryAge, func(_ name, t *Tenant) ID { return t.ID }, d.load)
	d.platform = cache.New(1, DirectoryAge, d.loadMaintenance)
	if db.watch != nil { // whoever changed may be new, and was unknown until now
		db.watch.add(keeper{forget: func(ID) { d.unknown.Purge() }, clear: d.unknown.Purge})
	}
	return d
}

// BySlug finds the tenant of a URL: [ErrUnknown] if there is none.
func (d *Directory) BySlug(ctx context.Context, slug string) (*Tenant, error) {
	s, err := ParseSlug(slug)
	if err != nil {
		return nil, unknown("slug")
	}
	return d.find(ctx, name{slug: string(s)})
}

// ByHealthAuthorityID finds the tenant that phones name when they publish,
// without regard to case (key server protocol §1.2): [ErrUnknown] if there is none.
func (d *Directory) ByHealthAuthorityID(ctx context.Context, id string) (*Tenant, error) {
	id = strings.ToLower(id)
	if id == "" || len(id) > 256 || strings.ContainsRune(id, 0) {
		return nil, unknown("health authority ID")
	}
	return d.find(ctx, name{healthAuthorityID: id})
}

// ByHost finds the tenant of a host name, given without a port: [ErrUnknown] if there is none.
func (d *Directory) ByHost(ctx context.Context, host string) (*Tenant, error) {
	host, ok := parseHost(host)
	if !ok {
		return nil, unknown("host")
	}
	return d.find(ctx, name{host: host})
}

func parseHost(text string) (host string, ok bool) {
	host = strings.ToLower(strings.TrimSuffix(text, "."))
	return host, host != "" && len(host) <= 253 && !strings.ContainsRune(host, 0)
}

// ByRegion finds the tenant that serves a region, given in any case: [ErrUnknown] if
// there is none.
func (d *Directory) ByRegion(ctx context.Context, region string) (*Tenant, error) {
	r, err := ParseRegion(region)
	if err != nil {
		return nil, unknown("region")
	}
	return d.find(ctx, name{region: r})
}

// ByID finds a tenant by its ID: [ErrUnknown] if there is none.
func (d *Directory) ByID(ctx context.Context, id ID) (*Tenant, error) {
	return d.find(ctx, name{id: id})
}

func (d *Directory) find(ctx context.Context, n name) (*Tenant, error) {
	if d.unknown.Contains(n) {
		return nil, unknown("name")
	}
	t, err := d.byName.Get(ctx, n)
	switch {
	case err == nil:
		d.familiar.Add(n, struct{}{})
	case errors.Is(err, ErrUnknown):
		d.unknown.Add(n, struct{}{})
	}
	return t, err
}

// StrangeSlug reports whether to look for a slug means to ask the database for a name
// that it has never had an answer for: whoever makes up names makes these.
func (d *Directory) StrangeSlug(slug string) bool {
	s, err := ParseSlug(slug)
	return err == nil && d.strange(name{slug: string(s)})
}

// StrangeHost is [Directory.StrangeSlug] for hosts.
func (d *Directory) StrangeHost(host string) bool {
	host, ok := parseHost(host)
	return ok && d.strange(name{host: host})
}

// StrangeRegion is [Directory.StrangeSlug] for regions.
func (d *Directory) StrangeRegion(region string) bool {
	r, err := ParseRegion(region)
	return err == nil && d.strange(name{region: r})
}

func (d *Directory) strange(n name) bool {
	return !d.familiar.Contains(n) && !d.unknown.Contains(n)
}

const idsSQL = `
  select tenant
    from tenant_directory
   where state = 'active'
     and ($1::uuid is null or tenant > $1)
order by tenant
   limit 1000`

// Each calls visit for every active tenant, until visit returns an error. The
// list is read in pages and is not cached.
func (d *Directory) Each(ctx context.Context, visit func(ID) error) error {
	var after *ID
	for {
		page, err := d.page(ctx, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, id := range page {
			if err := visit(id); err != nil {
				return err
			}
		}
		last := page[len(page)-1]
		after = &last
	}
}

func (d *Directory) page(ctx context.Context, after *ID) ([]ID, error) {
	var page []ID
	err := d.db.Platform(ctx, func(tx *Tx) error { return tx.Select(ctx, &page, idsSQL, after) })
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return page, nil
}

const (
	entryColumns = `
  select d.tenant, d.number, d.slug, d.name, d.region, d.health_authority_id, d.state, d.state_reason, d.state_since, d.winding_down, d.kind, p.maintenance
    from tenant_directory d, platform p
   where d.state <> 'erased'
     and `
	entryBySlug              = entryColumns + `d.slug = $1`
	entryByHealthAuthorityID = entryColumns + `d.health_authority_id = $1`
	entryByHost              = entryColumns + `d.tenant = (select h.tenant from directory_host h where h.host = $1)`
	entryByRegion            = entryColumns + `d.region = $1`
	entryByID                = entryColumns + `d.tenant = $1::uuid`
)

func (n name) query() (sql, arg string) {
	switch {
	case n.slug != "":
		return entryBySlug, n.slug
	case n.healthAuthorityID != "":
		return entryByHealthAuthorityID, n.healthAuthorityID
	case n.host != "":
		return entryByHost, n.host
	case n.region != "":
		return entryByRegion, n.region
	default:
		return entryByID, n.id.String()
	}
}

func (d *Directory) load(ctx context.Context, n name) (*Tenant, error) {
	var row struct {
		Tenant            ID
		Number            int64
		Slug              Slug
		Name              string
		Region            string
		HealthAuthorityID string `db:"health_authority_id"`
		State             State
		Kind              Kind
		StateReason       string     `db:"state_reason"`
		StateSince        *time.Time `db:"state_since"`
		WindingDown       bool       `db:"winding_down"`
		Maintenance       bool
	}
	query, arg := n.query()
	err := d.db.Platform(ctx, func(tx *Tx) error { return tx.Get(ctx, &row, query, arg) })
	if errors.Is(err, sql.ErrNoRows) {
		return nil, unknown("name")
	}
	if err != nil {
		return nil, fmt.Errorf("read directory: %w", err)
	}
	t := &Tenant{
		ID: row.Tenant, Number: row.Number, Slug: row.Slug, Name: row.Name, Region: row.Region,
		HealthAuthorityID: row.HealthAuthorityID, State: row.State, StateReason: row.StateReason, WindingDown: row.WindingDown, Kind: row.Kind,
		Maintenance: row.Maintenance || d.held.Load(),
	}
	if row.StateSince != nil {
		t.StateSince = row.StateSince.UTC()
	}
	err = d.db.In(ctx, t.ID, func(tx *Tx) (err error) {
		t.Settings, err = readSettings(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return t, nil
}
