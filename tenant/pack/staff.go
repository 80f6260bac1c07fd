package pack

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/key/custody"
	"carillon/tenant/pack/enx"
)

// StaffConfig is what a [Staff] works with.
type StaffConfig struct {
	// DB is a handle under the role carillon_portal.
	DB *tenant.DB
	// Keys are the tenants' keys as that role may see them; only public halves are read.
	Keys     *key.Ring
	Policies *authz.Policies
	Place    Place
	// Push: changes can be sent to Apple from this deployment.
	Push bool
	Now  func() time.Time
}

// Staff is what the staff of health authorities do about packs, each act after the
// authority's policy was asked: [authz.ErrForbidden] if it does not allow it. It is safe
// for concurrent use.
type Staff struct {
	StaffConfig
	apiKeys *client.Authenticator
}

// NewStaff returns one.
func NewStaff(c StaffConfig) *Staff {
	return &Staff{StaffConfig: c, apiKeys: client.NewAuthenticator(c.DB, nil, c.Now)}
}

func (s *Staff) in(ctx context.Context, t *tenant.Tenant, by authz.Subject, a authz.Action, fn func(*tenant.Tx) error) error {
	if err := s.Policies.Check(ctx, t.ID.String(), by, a); err != nil {
		return err
	}
	return s.DB.In(ctx, t.ID, fn)
}

// Board is how the configuration of a tenant stands.
type Board struct {
	Draft Draft
	// Config is the draft with what the service fills in; Problems are what is wrong with it.
	Config   enx.Config
	Problems []enx.Problem
	// Packs are the newest first; Last is the one that was handed over last, nil if none
	// was, and Changes are what the draft has otherwise.
	Packs   []Pack
	Last    *Pack
	Changes []enx.Change
	// Push: changes can be sent to Apple.
	Push bool
}

// Ready reports whether a pack can be made.
func (b Board) Ready() bool { return enx.Ready(b.Problems) }

// Of lists the problems of a section.
func (b Board) Of(s Section) []enx.Problem {
	var list []enx.Problem
	for _, p := range b.Problems {
		if p.Step == s.Step && (s.Step != enx.Texts || p.Language == s.Language) {
			list = append(list, p)
		}
	}
	return list
}

// Board tells how the configuration of t stands.
func (s *Staff) Board(ctx context.Context, t *tenant.Tenant, by authz.Subject) (Board, error) {
	b := Board{Push: s.Push}
	err := s.in(ctx, t, by, authz.PackRead, func(tx *tenant.Tx) (err error) {
		if err = s.judge(ctx, tx, t, &b); err != nil {
			return err
		}
		b.Packs, err = list(ctx, tx)
		return err
	})
	if err != nil {
		return Board{}, err
	}
	return b, s.judgeAPIKey(ctx, t, &b)
}

// judge reads the draft and what is wrong with it.
func (s *Staff) judge(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, b *Board) (err error) {
	if b.Draft, err = readDraft(ctx, tx, t); err != nil {
		return err
	}
	f, err := s.Place.facts(ctx, tx, t, s.Now())
	if err != nil {
		return err
	}
	if b.Last, err = last(ctx, tx, ""); err != nil {
		return err
	}
	b.Config = s.Place.fill(b.Draft.Config, t)
	b.Problems = enx.Check(b.Config, f)
	if b.Last != nil {
		known := b.Config.Clone() // the key comes with the pack
		for _, id := range []string{"publicKey", "publicKeyVersion"} {
			known.Values[id] = b.Last.Config.Values[id]
		}
		b.Changes = enx.Differences(b.Last.Config, known)
	}
	return nil
}

const apiKeySlot = "testVerificationAPIKey"

// judgeAPIKey checks that phones will be let in with the key that they get.
func (s *Staff) judgeAPIKey(ctx context.Context, t *tenant.Tenant, b *Board) error {
	text := b.Config.Values[apiKeySlot]
	if text == "" {
		return nil
	}
	_, err := s.apiKeys.Authenticate(ctx, t, client.Device, text, netip.Addr{})
	if errors.Is(err, client.ErrUnknownKey) {
		b.Problems = append(b.Problems, enx.Problem{Step: enx.Links, Slot: apiKeySlot, Text: "This is no valid API key of yours for devices. Make one on the page of API keys."})
		return nil
	}
	return err
}

// Save is [Save].
func (s *Staff) Save(ctx context.Context, t *tenant.Tenant, by authz.Subject, sec Section, version int, values map[string]string) error {
	return s.in(ctx, t, by, authz.PackWrite, func(tx *tenant.Tx) error {
		return Save(ctx, tx, t, by, sec, version, values, s.Now())
	})
}

// Translations is the draft's texts as a sheet: see [enx.Config.Translations].
func (s *Staff) Translations(ctx context.Context, t *tenant.Tenant, by authz.Subject) (file []byte, err error) {
	err = s.in(ctx, t, by, authz.PackRead, func(tx *tenant.Tx) error {
		d, err := readDraft(ctx, tx, t)
		if err == nil {
			file, err = d.Config.Translations()
		}
		return err
	})
	return file, err
}

// ExamineTranslations tells what a sheet would change: [enx.ErrTranslations] if it is none.
func (s *Staff) ExamineTranslations(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte) (sheet Sheet, err error) {
	err = s.in(ctx, t, by, authz.PackWrite, func(tx *tenant.Tx) error {
		d, err := readDraft(ctx, tx, t)
		if err == nil {
			sheet, err = d.examine(file)
		}
		return err
	})
	return sheet, err
}

// ImportTranslations saves the texts of a sheet in all languages, or in none: over the
// versions that [Staff.ExamineTranslations] was given, else [ErrChanged].
func (s *Staff) ImportTranslations(ctx context.Context, t *tenant.Tenant, by authz.Subject, file []byte, versions map[string]int) (changed int, err error) {
	err = s.in(ctx, t, by, authz.PackWrite, func(tx *tenant.Tx) error {
		d, err := readDraft(ctx, tx, t)
		if err != nil {
			return err
		}
		sheet, err := d.examine(file)
		if err != nil {
			return err
		}
		changed = len(sheet.Changes)
		return d.importSheet(ctx, tx, by, sheet, versions, s.Now())
	})
	return changed, err
}

// smsKey is a public key of signed text messages.
type smsKey struct {
	No    int    `json:"version"`
	KeyID string `json:"keyID"`
	State string `json:"state"`
	DER   string `json:"der"`
}

func (s *Staff) smsKeys(ctx context.Context, t *tenant.Tenant) (string, error) {
	keys := []smsKey{}
	if t.Settings.SMSSigning == tenant.SigningOpen || t.Settings.SMSSigning == tenant.SigningClosed {
		public, err := s.Keys.Public(ctx, t.ID, signing.SMS)
		if err != nil {
			return "", err
		}
		for _, k := range public {
			if k.State == key.Next || k.State == key.Active {
				keys = append(keys, smsKey{k.No, k.KeyID, string(k.State), base64.StdEncoding.EncodeToString(k.DER)})
			}
		}
	}
	text, err := json.Marshal(keys)
	return string(text), err
}

// topic is what processes tell each other of packs.
const topic = "pack"

const askSQL = `
insert into pack (tenant_id, pack_id, number, config, sms_keys, signed, asked_at, asked_by, asked_by_id)
select current_tenant(), $1, coalesce(max(number), 0) + 1, $2::jsonb, $3::jsonb, $4, $5, $6, $7
  from pack`

// Ask has a pack made of the draft: [ErrNotReady] if something is wrong with it. With
// signed, it will have the signed request to Apple, which only who may send changes to
// Apple can ask for.
func (s *Staff) Ask(ctx context.Context, t *tenant.Tenant, by authz.Subject, signed bool) (uuid.UUID, error) {
	if signed {
		if err := s.Policies.Check(ctx, t.ID.String(), by, authz.PackPush); err != nil {
			return uuid.Nil, err
		}
	}
	sms, err := s.smsKeys(ctx, t)
	if err != nil {
		return uuid.Nil, err
	}
	board, err := s.Board(ctx, t, by)
	if err != nil {
		return uuid.Nil, err
	}
	if !board.Ready() {
		return uuid.Nil, ErrNotReady
	}
	config, err := json.Marshal(board.Config)
	if err != nil {
		return uuid.Nil, fmt.Errorf("ask for a pack: %w", err)
	}
	id := uuid.New()
	return id, s.in(ctx, t, by, authz.PackWrite, func(tx *tenant.Tx) error {
		if _, err := tx.Exec(ctx, lockSQL); err != nil {
			return fmt.Errorf("ask for a pack: %w", err)
		}
		if _, err := tx.Exec(ctx, askSQL, id, string(config), sms, signed, s.Now().UTC().Truncate(time.Second), by.Name, by.ID); err != nil {
			return fmt.Errorf("ask for a pack: %w", err)
		}
		if err := tx.Tell(ctx, topic); err != nil {
			return err
		}
		return audit.Record(ctx, tx, s.Now(), by, string(authz.PackWrite), "pack "+id.String(), map[string]string{"signed": fmt.Sprint(signed)})
	})
}

// lockSQL gives packs their numbers one after the other.
const lockSQL = `select pg_advisory_xact_lock(hashtextextended('packs ' || current_tenant()::text, 0))`

// View is a pack with what it is to be compared with.
type View struct {
	Pack
	// Since is the one that was handed over last before; nil if none was. Changes are
	// what this one has otherwise.
	Since   *Pack
	Changes []enx.Change
	Push    bool
	// Rotations are those that bring a version which it carries, the oldest first.
	Rotations []custody.Rotation
}

const beforeSQL = `
  select ` + packColumns + `
    from pack
   where number < $1
     and pack_id in (select pack_id from pack_hand_over)
order by number desc
   limit 1`

// Find returns a pack: [ErrNoPack] if there is none.
func (s *Staff) Find(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (v View, err error) {
	v.Push = s.Push
	err = s.in(ctx, t, by, authz.PackRead, func(tx *tenant.Tx) error {
		if v.Pack, err = find(ctx, tx, id); err != nil {
			return err
		}
		if v.Since, err = one(ctx, tx, beforeSQL, v.Number); err != nil {
			return err
		}
		v.Rotations, err = custody.Bringing(ctx, tx, v.carried())
		return err
	})
	if err == nil && v.Since != nil {
		v.Changes = enx.Differences(v.Since.Config, v.Config)
	}
	return v, err
}

// Await waits until a pack is made or failed, for a while, and returns it as it stands then.
func (s *Staff) Await(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (View, error) {
	const longest, pause = 3 * time.Second, 100 * time.Millisecond
	limited, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		v, err := s.Find(ctx, t, by, id)
		if err != nil || v.State != Asked {
			return v, err
		}
		select {
		case <-limited.Done():
			return v, ctx.Err()
		case <-tick.C:
		}
	}
}

const bodySQL = `
select body
  from pack
 where pack_id = $1
   and state = 'made'`

// Body returns a pack's file: [ErrNoPack] if it was not made. One that has the signed
// request is for those alone who may send changes to Apple. That somebody took it is
// written down.
func (s *Staff) Body(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (body []byte, p Pack, err error) {
	err = s.in(ctx, t, by, authz.PackRead, func(tx *tenant.Tx) error {
		if p, err = find(ctx, tx, id); err != nil {
			return err
		}
		if p.State != Made {
			return ErrNoPack
		}
		if p.Signed {
			if err := s.Policies.Check(ctx, t.ID.String(), by, authz.PackPush); err != nil {
				return err
			}
		}
		if err := tx.Get(ctx, &body, bodySQL, id); err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		return audit.Record(ctx, tx, s.Now(), by, "pack:download", "pack "+id.String(), nil)
	})
	return body, p, err
}

const handOverSQL = `
insert into pack_hand_over (tenant_id, hand_over_id, pack_id, recipient, person, handed_at, handed_by)
values (current_tenant(), $1, $2, $3, $4, $5, $6)`

// HandOver notes that a pack was handed over: [ErrNoPack], [ErrRecipient]. To Apple or
// Google, that counts in each guided rotation whose version the pack carries.
func (s *Staff) HandOver(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID, to Recipient, person string) error {
	person = strings.TrimSpace(strings.Map(visible, person))
	const longest = 200
	known := to == Apple || to == Google || to == Other
	if !known || person == "" || len([]rune(person)) > longest {
		return ErrRecipient
	}
	return s.in(ctx, t, by, authz.PackWrite, func(tx *tenant.Tx) error {
		p, err := find(ctx, tx, id)
		if err == nil && p.State != Made {
			err = ErrNoPack
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, handOverSQL, uuid.New(), id, string(to), person, s.Now().UTC(), by.Name); err != nil {
			return fmt.Errorf("note hand-over: %w", err)
		}
		detail := map[string]string{"recipient": string(to)}
		if to != Other {
			counts, err := custody.Give(ctx, tx, custody.Party(to), id, p.carried(), by.Name, s.Now().UTC())
			if err != nil {
				return err
			}
			if len(counts) > 0 {
				detail["rotations"] = joined(counts)
			}
		}
		return audit.Record(ctx, tx, s.Now(), by, "pack:hand-over", "pack "+id.String(), detail)
	})
}

func joined(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return strings.Join(texts, " ")
}

// PlanPush tells what of a pack would be sent to Apple: [ErrPushOff], [ErrNoPack],
// [ErrPushing], [ErrNothing].
func (s *Staff) PlanPush(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) (p Pack, changes map[string]any, err error) {
	if !s.Push {
		return p, nil, ErrPushOff
	}
	err = s.in(ctx, t, by, authz.PackPush, func(tx *tenant.Tx) error {
		p, changes, err = plan(ctx, tx, t, id)
		return err
	})
	return p, changes, err
}

const openPushSQL = `select count(*) from pack_push where state in ('waiting', 'reading')`

// plan is the smallest change from what Apple was given last.
func plan(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, id uuid.UUID) (Pack, map[string]any, error) {
	p, err := find(ctx, tx, id)
	if err == nil && p.State != Made {
		err = ErrNoPack
	}
	if err != nil {
		return p, nil, err
	}
	var open int
	if err := tx.Get(ctx, &open, openPushSQL); err != nil {
		return p, nil, fmt.Errorf("look for changes on their way: %w", err)
	}
	if open > 0 {
		return p, nil, ErrPushing
	}
	changes, err := sinceApple(ctx, tx, t, p)
	if err == nil && len(changes) == 0 {
		err = ErrNothing
	}
	return p, changes, err
}

const givenSQL = `
  select ` + packColumns + `
    from pack
   where pack_id <> $1
     and pack_id = (select pack_id
                      from (select pack_id, handed_at as at from pack_hand_over where recipient = 'apple'
                            union all
                            select pack_id, ended_at from pack_push where state = 'taken') given
                  order by at desc
                     limit 1)`

// sinceApple is what a pack has otherwise than what Apple has: by hand-over, or because
// it took a change.
func sinceApple(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, p Pack) (map[string]any, error) {
	before, err := one(ctx, tx, givenSQL, p.ID)
	if err != nil {
		return nil, err
	}
	var given enx.Config
	if before != nil {
		given = before.Config
	}
	return enx.AppleChanges(given, p.Config, t.Region)
}

const askPushSQL = `
insert into pack_push (tenant_id, push_id, pack_id, changes, asked_at, asked_by, asked_by_id, due_at)
values (current_tenant(), $1, $2, $3::jsonb, $4, $5, $6, $4)
    on conflict do nothing`

// AskPush has the change sent that [Staff.PlanPush] tells. Its errors are the same.
func (s *Staff) AskPush(ctx context.Context, t *tenant.Tenant, by authz.Subject, id uuid.UUID) error {
	if !s.Push {
		return ErrPushOff
	}
	return s.in(ctx, t, by, authz.PackPush, func(tx *tenant.Tx) error {
		_, changes, err := plan(ctx, tx, t, id)
		if err != nil {
			return err
		}
		document, err := json.Marshal(changes)
		if err != nil {
			return fmt.Errorf("ask for a change: %w", err)
		}
		push := uuid.New()
		rows, err := tx.Exec(ctx, askPushSQL, push, id, string(document), s.Now().UTC(), by.Name, by.ID)
		if err != nil {
			return fmt.Errorf("ask for a change: %w", err)
		}
		if rows == 0 {
			return ErrPushing
		}
		if err := tx.Tell(ctx, topic); err != nil {
			return err
		}
		return audit.Record(ctx, tx, s.Now(), by, string(authz.PackPush), "pack "+id.String(), map[string]string{"keys": fmt.Sprint(len(changes))})
	})
}
