package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/audit"
)

const countSQL = `
select count(*)
  from api_key
 where disabled_at is null
   and (expires_at is null or expires_at > $1)`

// Make makes a key on terms and returns its text, which nobody can ask for again. Its
// errors are those of [Terms], [ErrNameTaken] and [ErrTooMany]. The caller of this and
// of what follows has checked who asks, and rolls tx back after an error.
func Make(ctx context.Context, tx *tenant.Tx, by authz.Subject, kind Kind, terms Terms, now time.Time) (plain string, k Key, err error) {
	if err := terms.check(kind, now); err != nil {
		return "", Key{}, err
	}
	var good int
	if err := tx.Get(ctx, &good, countSQL, now.UTC()); err != nil {
		return "", Key{}, fmt.Errorf("count API keys: %w", err)
	}
	if good >= MaxKeys {
		return "", Key{}, ErrTooMany
	}
	plain, id, err := row{kind, terms, 1, instant(now)}.insert(ctx, tx)
	if err != nil {
		return "", Key{}, err
	}
	k, err = recorded(ctx, tx, id, by, "apikey:create", now)
	return plain, k, err
}

func instant(t time.Time) *time.Time {
	t = t.UTC().Truncate(time.Second)
	return &t
}

// recorded writes the audit entry of an act, with what the key is afterwards.
func recorded(ctx context.Context, tx *tenant.Tx, id uuid.UUID, by authz.Subject, action string, now time.Time) (Key, error) {
	k, err := Find(ctx, tx, id)
	if err != nil {
		return Key{}, err
	}
	return k, audit.Record(ctx, tx, now, by, action, id.String(), k.detail())
}

func (k Key) detail() map[string]string {
	d := map[string]string{"name": k.Name, "kind": string(k.Kind), "generation": strconv.Itoa(k.Generation)}
	if k.ExpiresAt != nil {
		d["expires"] = k.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if len(k.Networks) > 0 {
		d["networks"] = strings.Join(k.Networks, " ")
	}
	return d
}

const lockSQL = `
  select api_key_id
    from api_key
   where name = (select name
                   from api_key
                  where api_key_id = $1)
order by generation
     for update`

// lock returns a key that is good, and keeps it and those of its name as they are until
// tx ends.
func lock(ctx context.Context, tx *tenant.Tx, id uuid.UUID, now time.Time) (Key, error) {
	var ids []uuid.UUID
	if err := tx.Select(ctx, &ids, lockSQL, id); err != nil {
		return Key{}, fmt.Errorf("lock API key: %w", err)
	}
	k, err := Find(ctx, tx, id)
	if err == nil && !k.Accepted(now) {
		return Key{}, ErrUnknownKey
	}
	return k, err
}

const (
	renameSQL = `
update api_key
   set name = $2
 where name = $1`

	changeSQL = `
update api_key
   set expires_at = $2,
       networks   = $3::cidr[]
 where api_key_id = $1`
)

// Change gives a good key other terms. All generations of a name are renamed together.
// Its errors are those of [Make], and [ErrUnknownKey] if no such key is good.
func Change(ctx context.Context, tx *tenant.Tx, by authz.Subject, id uuid.UUID, terms Terms, now time.Time) (Key, error) {
	old, err := lock(ctx, tx, id, now)
	if err != nil {
		return Key{}, err
	}
	if err := terms.check(old.Kind, now); err != nil {
		return Key{}, err
	}
	if terms.Name != old.Name {
		_, err = tx.Exec(ctx, renameSQL, old.Name, terms.Name)
		if tenant.Violates(err, "api_key_name_key") {
			return Key{}, ErrNameTaken
		}
	}
	if err == nil {
		_, err = tx.Exec(ctx, changeSQL, id, terms.expires(), terms.networks())
	}
	if err != nil {
		return Key{}, fmt.Errorf("change API key: %w", err)
	}
	return recorded(ctx, tx, id, by, "apikey:change", now)
}

const endSQL = `
update api_key
   set expires_at = least(expires_at, $2)
 where api_key_id = $1`

// Rotate makes a key that takes another's place, with the same name and networks and
// the next generation, and returns its text. The old one lives on for the overlap, 0 to
// [MaxOverlap], if it does not expire before; the new one expires when it shall, never
// if that is zero. [ErrReplaced] if another has taken its place before, also at the same
// time; [ErrUnknownKey] if no such key is good; [ErrOverlap], [ErrExpiry].
func Rotate(ctx context.Context, tx *tenant.Tx, by authz.Subject, id uuid.UUID, overlap time.Duration, expires, now time.Time) (plain string, k Key, err error) {
	if overlap < 0 || overlap > MaxOverlap {
		return "", Key{}, ErrOverlap
	}
	old, err := lock(ctx, tx, id, now)
	if err != nil {
		return "", Key{}, err
	}
	if old.Followed {
		return "", Key{}, ErrReplaced
	}
	networks, err := ParseNetworks(strings.Join(old.Networks, " "))
	if err != nil {
		return "", Key{}, err
	}
	terms := Terms{Name: old.Name, Expires: expires, Networks: networks}
	if err := terms.check(old.Kind, now); err != nil {
		return "", Key{}, err
	}
	if _, err := tx.Exec(ctx, endSQL, id, instant(now.Add(overlap))); err != nil {
		return "", Key{}, fmt.Errorf("end API key: %w", err)
	}
	plain, next, err := row{old.Kind, terms, old.Generation + 1, instant(now)}.insert(ctx, tx)
	if errors.Is(err, ErrNameTaken) {
		err = ErrReplaced
	}
	if err != nil {
		return "", Key{}, err
	}
	if _, err := recorded(ctx, tx, id, by, "apikey:replace", now); err != nil {
		return "", Key{}, err
	}
	k, err = recorded(ctx, tx, next, by, "apikey:rotate", now)
	return plain, k, err
}

const revokeSQL = `
update api_key
   set disabled_at = $2
 where api_key_id = $1
   and disabled_at is null`

// Revoke ends a key, in every process that hears of changes at once and in the others
// within [Age]. Nothing makes it good again. [ErrUnknownKey] if the tenant has no key of
// that ID that was not revoked before; one that has expired can be.
func Revoke(ctx context.Context, tx *tenant.Tx, by authz.Subject, id uuid.UUID, now time.Time) (Key, error) {
	rows, err := tx.Exec(ctx, revokeSQL, id, instant(now))
	if err != nil {
		return Key{}, fmt.Errorf("revoke API key: %w", err)
	}
	if rows == 0 {
		return Key{}, ErrUnknownKey
	}
	return recorded(ctx, tx, id, by, "apikey:revoke", now)
}
