package keeping

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/letter"
	"carillon/tenant/mail"
	"carillon/tenant/member"
)

const (
	calmSQL = `
delete from key_alarm
 where (purpose || ' ' || kind) <> all ($1::text[])`

	raiseSQL = `
insert into key_alarm (tenant_id, purpose, kind, raised_at)
values (current_tenant(), $1, $2, $3)
    on conflict on constraint key_alarm_pkey do nothing`

	toldSQL = `
update key_alarm
   set told_at = $2
 where told_at is null
   and (purpose || ' ' || kind) = any ($1::text[])`

	// maxTold bounds how many custodians get a letter.
	maxTold = 20
)

// alarm notes what is wrong with the tenant's keys, forgets what no longer is, and tells
// the custodians of what they were not told of yet. A letter that was not sent is sent at
// the next run: that there is no mail server is no reason for keys to wait.
func (k *Keeper) alarm(ctx context.Context, id tenant.ID) error {
	var untold []custody.Raised
	err := k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		book, err := custody.Read(ctx, tx)
		if err != nil {
			return err
		}
		untold, err = k.raise(ctx, tx, book)
		return err
	})
	if err != nil {
		return fmt.Errorf("alarms of keys: %w", err)
	}
	if len(untold) == 0 {
		return nil
	}
	if err := k.tell(ctx, id, untold); err != nil {
		k.Log.WarnContext(ctx, "custodians were not told of an alarm", slog.String("tenant", id.String()), slog.Any("error", err))
	}
	return nil
}

func (k *Keeper) raise(ctx context.Context, tx *tenant.Tx, book *custody.Book) (untold []custody.Raised, err error) {
	now := k.Now().UTC()
	alarms := book.Alarms(now)
	names := pq.StringArray{}
	for _, a := range alarms {
		names = append(names, named(a.Purpose, a.Kind))
	}
	if len(book.Raised) > 0 {
		if _, err := tx.Exec(ctx, calmSQL, names); err != nil {
			return nil, err
		}
	}
	known := map[string]custody.Raised{}
	for _, r := range book.Raised {
		known[named(r.Purpose, r.Kind)] = r
	}
	for _, a := range alarms {
		r, is := known[named(a.Purpose, a.Kind)]
		if !is {
			if _, err := tx.Exec(ctx, raiseSQL, string(a.Purpose), string(a.Kind), now); err != nil {
				return nil, err
			}
			k.alarms.WithLabelValues(string(a.Purpose), string(a.Kind)).Inc()
			r = custody.Raised{Purpose: a.Purpose, Kind: a.Kind, RaisedAt: now}
		}
		if r.ToldAt == nil {
			untold = append(untold, r)
		}
	}
	return untold, nil
}

func named(p signing.Purpose, kind custody.AlarmKind) string { return string(p) + " " + string(kind) }

// tell writes to everybody who may rotate keys, and notes it if one letter was sent.
func (k *Keeper) tell(ctx context.Context, id tenant.ID, alarms []custody.Raised) error {
	t, err := k.Directory.ByID(ctx, id)
	if err != nil {
		return err
	}
	policy, err := k.Policies.Policy(ctx, id.String())
	if err != nil {
		return err
	}
	var to []member.Holder
	err = k.DB.In(ctx, id, func(tx *tenant.Tx) error {
		to, err = member.WhoMay(ctx, tx, policy, authz.KeyRequestRotation, maxTold)
		return err
	})
	if err != nil {
		return err
	}
	sent := false
	for _, h := range to {
		text, failure := k.letter(t, h.Email, alarms)
		if failure == nil {
			failure = k.Mail.Send(ctx, text)
		}
		if failure != nil {
			err = failure
			continue
		}
		sent = true
	}
	if !sent {
		return err
	}
	names := pq.StringArray{}
	for _, a := range alarms {
		names = append(names, named(a.Purpose, a.Kind))
	}
	return k.DB.InKeeping(ctx, id, key.Rotating, func(tx *tenant.Tx) error {
		_, err := tx.Exec(ctx, toldSQL, names, k.Now().UTC())
		return err
	})
}

func (k *Keeper) letter(t *tenant.Tenant, to string, alarms []custody.Raised) (mail.Letter, error) {
	contents := letter.Keys{Page: k.BaseURL + "/portal/" + string(t.Slug) + "/keys"}
	for _, a := range alarms {
		contents.Alarms = append(contents.Alarms, letter.Alarm{Purpose: string(a.Purpose), Kind: string(a.Kind), Since: a.RaisedAt.UTC()})
	}
	return letter.Of(t).Write(to, contents)
}
