package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"carillon/tenant/cache"
)

// Directory finds tenants by the names that requests carry. Answers are kept for
// up to [DirectoryAge], so that a device request costs no round trip for it.
type Directory struct {
	db     *DB
	byName *cache.Cache[name, *Tenant]
}

// DirectoryAge is how long a change to a tenant may take to be seen by every process.
const DirectoryAge = 2 * time.Second

const directorySize = 10_000

// name is one way to name a tenant; exactly one field is set.
type name struct {
	slug, healthAuthorityID, host, region string
	id                                    ID
}

// NewDirectory returns the directory as seen through db, under any role.
func NewDirectory(db *DB) *Directory {
	d := &Directory{db: db}
	d.byName = cache.New(directorySize, DirectoryAge, d.load)
	return d
}

// BySlug finds the tenant of a URL: [ErrUnknown] if there is none.
func (d *Directory) BySlug(ctx context.Context, slug string) (*Tenant, error) {
	s, err := ParseSlug(slug)
	if err != nil {
		return nil, unknown("slug")
	}
	return d.byName.Get(ctx, name{slug: string(s)})
}

// ByHealthAuthorityID finds the tenant that phones name when they publish,
// without regard to case (key server protocol §1.2): [ErrUnknown] if there is none.
func (d *Directory) ByHealthAuthorityID(ctx context.Context, id string) (*Tenant, error) {
	id = strings.ToLower(id)
	if id == "" || len(id) > 256 || strings.ContainsRune(id, 0) {
		return nil, unknown("health authority ID")
	}
	return d.byName.Get(ctx, name{healthAuthorityID: id})
}

// ByHost finds the tenant of a host name, given without a port: [ErrUnknown] if there is none.
func (d *Directory) ByHost(ctx context.Context, host string) (*Tenant, error) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > 253 || strings.ContainsRune(host, 0) {
		return nil, unknown("host")
	}
	return d.byName.Get(ctx, name{host: host})
}

// ByRegion finds the tenant that serves a region, given in any case: [ErrUnknown] if
// there is none.
func (d *Directory) ByRegion(ctx context.Context, region string) (*Tenant, error) {
	r, err := ParseRegion(region)
	if err != nil {
		return nil, unknown("region")
	}
	return d.byName.Get(ctx, name{region: r})
}

// ByID finds a tenant by its ID: [ErrUnknown] if there is none.
func (d *Directory) ByID(ctx context.Context, id ID) (*Tenant, error) {
	return d.byName.Get(ctx, name{id: id})
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
  select d.tenant, d.slug, d.name, d.region, d.health_authority_id, d.state
    from tenant_directory d
   where `
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
		Slug              Slug
		Name              string
		Region            string
		HealthAuthorityID string `db:"health_authority_id"`
		State             State
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
		ID: row.Tenant, Slug: row.Slug, Name: row.Name, Region: row.Region,
		HealthAuthorityID: row.HealthAuthorityID, State: row.State,
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
