package pack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/authz"
	"carillon/signing"
	"carillon/signing/authorityname"
	"carillon/signing/exportfile"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/job"
	"carillon/tenant/key"
	"carillon/tenant/message/template"
	"carillon/tenant/outbound/apple"
	"carillon/tenant/pack/bundle"
	"carillon/tenant/pack/enx"
)

// MakerConfig is what a [Maker] works with.
type MakerConfig struct {
	// DB is a handle under the role carillon_jobs.
	DB *tenant.DB
	// Keys are the tenants' keys as that role may see them.
	Keys      *key.Ring
	Directory *tenant.Directory
	Place     Place
	// Apple takes changes; nil if none are sent.
	Apple *apple.Client
	// Recorder is told how turns end.
	Recorder *job.Recorder
	Now      func() time.Time
}

// Maker makes the packs that staff ask for, and sends their changes to Apple. It is safe
// for concurrent use, also with those of other processes: what two make of the same wish
// is kept once.
type Maker struct {
	MakerConfig
	wake chan struct{}
}

// NewMaker returns one that hears of wishes through its handle, if that watches for changes.
func NewMaker(c MakerConfig) *Maker {
	m := &Maker{MakerConfig: c, wake: make(chan struct{}, 1)}
	c.DB.Hear(topic, func() {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	})
	return m
}

// Run works until ctx ends: at once when it hears of a wish, and in rounds for what is due
// later or was not heard of.
func (m *Maker) Run(ctx context.Context, pause time.Duration) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		err := m.Directory.Each(ctx, func(id tenant.ID) error {
			m.Recorder.Note(ctx, id, m.Turn(ctx, id))
			return ctx.Err()
		})
		m.Recorder.Note(ctx, job.Platform, err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-m.wake:
		}
	}
}

// wish is a pack that was asked for.
type wish struct {
	Pack
	AskedByID string `db:"asked_by_id"`
	SMSKeys   []byte `db:"sms_keys"`
}

const wishesSQL = `
  select ` + packColumns + `, asked_by_id, sms_keys
    from pack
   where state = 'asked'
order by number
   limit 5`

// Turn makes what a tenant's staff have asked for, and sends what is due.
func (m *Maker) Turn(ctx context.Context, id tenant.ID) error {
	var wishes []wish
	if err := m.DB.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &wishes, wishesSQL) }); err != nil {
		return fmt.Errorf("find packs that are asked for: %w", err)
	}
	var errs []error
	for _, w := range wishes {
		errs = append(errs, w.read(), m.make(ctx, id, w))
	}
	return errors.Join(append(errs, m.push(ctx, id))...)
}

const (
	madeSQL = `
update pack
   set state   = 'made',
       config  = $2::jsonb,
       made_at = $3,
       sha256  = $4,
       body    = $5,
       export_versions = $6,
       sms_versions    = $7
 where pack_id = $1
   and state = 'asked'`

	failedSQL = `
update pack
   set state   = 'failed',
       made_at = $2,
       failure = $3
 where pack_id = $1
   and state = 'asked'`
)

// make makes one pack. What is wrong with the wish itself ends it; whatever else fails is
// tried again.
func (m *Maker) make(ctx context.Context, id tenant.ID, w wish) error {
	t, err := m.Directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	material, problems, err := m.gather(ctx, t, &w)
	if err != nil {
		return fmt.Errorf("pack %d: %w", w.Number, err)
	}
	if !enx.Ready(problems) {
		return m.fail(ctx, t, w, problems)
	}
	body, err := bundle.Make(material)
	if err != nil {
		return fmt.Errorf("pack %d: %w", w.Number, err)
	}
	config, err := json.Marshal(w.Config)
	if err != nil {
		return fmt.Errorf("pack %d: %w", w.Number, err)
	}
	sum := sha256.Sum256(body)
	return m.DB.In(ctx, id, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, madeSQL, w.ID, string(config), m.Now().UTC(), sum[:], body, w.Exports, w.SMS)
		if err != nil || rows == 0 { // made by another process
			return err
		}
		return m.record(ctx, tx, "pack:make", "pack "+w.ID.String(), map[string]string{"for": w.AskedByID, "number": strconv.Itoa(w.Number)})
	})
}

// robot is whose acts a process's own are.
var robot = authz.Subject{Kind: authz.System, ID: "packs", Name: "Carillon"}

func (m *Maker) record(ctx context.Context, tx *tenant.Tx, action, target string, detail map[string]string) error {
	return audit.Record(ctx, tx, m.Now(), robot, action, target, detail)
}

func (m *Maker) fail(ctx context.Context, t *tenant.Tenant, w wish, problems []enx.Problem) error {
	var texts []string
	for _, p := range problems {
		if !p.Advice {
			texts = append(texts, strings.TrimSpace(p.Slot+" "+p.Language)+": "+p.Text)
		}
	}
	const longest = 500
	text := strings.Join(texts, "\n")
	text = string([]rune(text)[:min(len([]rune(text)), longest)])
	return m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		rows, err := tx.Exec(ctx, failedSQL, w.ID, m.Now().UTC(), text)
		if err != nil || rows == 0 {
			return err
		}
		return m.record(ctx, tx, "pack:fail", "pack "+w.ID.String(), map[string]string{"for": w.AskedByID})
	})
}

// gather collects what a pack is made of, and completes the wish's configuration with
// the key that signs.
func (m *Maker) gather(ctx context.Context, t *tenant.Tenant, w *wish) (bundle.Material, []enx.Problem, error) {
	material := bundle.Material{
		Number: w.Number, AskedAt: w.AskedAt, AskedBy: w.AskedBy, Authority: t.Name, Region: t.Region, Endpoints: m.Place.Endpoints(t),
	}
	signers, err := m.exportKeys(ctx, t, w, &material)
	if err != nil {
		return material, nil, err
	}
	w.Config = w.Config.Clone()
	w.Config.Values["publicKey"], w.Config.Values["publicKeyVersion"] = bundle.OneLine(material.Export[0].DER), signers[0].KeyVersion
	material.Config = w.Config
	problems, err := m.compare(ctx, t, *w, &material)
	if err != nil || !enx.Ready(problems) {
		return material, problems, err
	}
	if material.Sample, err = bundle.Sample(t.Region, signers); err != nil {
		return material, nil, err
	}
	if material.SMS, w.SMS, err = readSMSKeys(w.SMSKeys); err != nil {
		return material, nil, err
	}
	if material.Messages, err = m.messages(ctx, t); err != nil {
		return material, nil, err
	}
	if w.Signed {
		pair, err := m.signName(ctx, t, w.Config, signers[0], "pack "+w.ID.String(), w.AskedByID)
		if err != nil {
			return material, nil, err
		}
		material.Request.Pair = &pair
	}
	return material, problems, nil
}

// exportKeys are those that sign, and puts their public halves, and those of the next,
// into the material. What it carries is noted with the wish.
func (m *Maker) exportKeys(ctx context.Context, t *tenant.Tenant, w *wish, material *bundle.Material) ([]exportfile.Signer, error) {
	active, err := m.Keys.Signers(ctx, t.ID, signing.Export)
	if err != nil {
		return nil, err
	}
	signers := make([]exportfile.Signer, len(active))
	for i, k := range active {
		public, ok := k.Key.Public().(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("export key %s: %w", k.Label, signing.ErrPublicKey)
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return nil, fmt.Errorf("export key %s: %w", k.Label, err)
		}
		signers[i] = exportfile.Signer{KeyID: k.KeyID, KeyVersion: k.Label, Key: k.Key}
		material.Export = append(material.Export, bundle.Key{ID: k.KeyID, Version: k.Label, State: string(key.Active), DER: der})
	}
	return signers, m.addKnown(ctx, t.ID, w, material)
}

// addKnown adds the keys that do not sign yet, as they stand now: a ring may not have heard
// of one that was made a moment ago, for which the pack is.
func (m *Maker) addKnown(ctx context.Context, id tenant.ID, w *wish, material *bundle.Material) error {
	var versions []key.Version
	err := m.DB.In(ctx, id, func(tx *tenant.Tx) (err error) {
		versions, err = key.ExportVersions(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	w.Exports = pq.Int64Array{}
	for _, v := range slices.Backward(versions) {
		has := slices.ContainsFunc(material.Export, func(k bundle.Key) bool { return bytes.Equal(k.DER, v.DER) })
		if !has && (v.State == key.Next || v.State == key.Active) {
			material.Export = append(material.Export, bundle.Key{ID: v.KeyID, Version: v.Label, State: string(v.State), DER: v.DER})
			has = true
		}
		if has {
			w.Exports = append(w.Exports, int64(v.No))
		}
	}
	return nil
}

// compare holds a wish against what was handed over, and works out Apple's request.
func (m *Maker) compare(ctx context.Context, t *tenant.Tenant, w wish, material *bundle.Material) (problems []enx.Problem, err error) {
	var changes map[string]any
	err = m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		f, err := m.Place.facts(ctx, tx, t, m.Now())
		if err != nil {
			return err
		}
		f.KeyVersion = w.Config.Values["publicKeyVersion"]
		problems = enx.Check(w.Config, f)
		if before, err := last(ctx, tx, ""); err != nil {
			return err
		} else if before != nil {
			material.Last, material.LastNumber = &before.Config, before.Number
		}
		changes, err = sinceApple(ctx, tx, t, w.Pack)
		return err
	})
	if err != nil {
		return nil, err
	}
	body, err := appleChange(t.Region, w.Config, changes)
	if err != nil {
		problems = append(problems, enx.Problem{Slot: "publicKeyVersion", Text: err.Error()})
	}
	material.Request = bundle.Request{URL: strings.TrimSuffix(m.Place.AppleURL, "/") + apple.ChangePath, Body: body}
	return problems, nil
}

// appleChange is the body of the change call. A key's version is a number there.
func appleChange(region string, c enx.Config, changes map[string]any) (apple.Change, error) {
	place := enx.PlaceOf(region)
	version := c.Values["publicKeyVersion"]
	number, err := strconv.Atoi(strings.TrimPrefix(version, "v"))
	if err != nil {
		return apple.Change{}, fmt.Errorf("version %q of the key is no number for Apple's call", version)
	}
	return apple.Change{Country: place.Country, State: place.State, KeyVersion: number, Config: changes}, nil
}

func readSMSKeys(document []byte) (keys []bundle.Key, versions pq.Int64Array, err error) {
	var stored []smsKey
	if err := json.Unmarshal(document, &stored); err != nil {
		return nil, nil, fmt.Errorf("keys of text messages: %w", err)
	}
	versions = pq.Int64Array{}
	for _, k := range stored {
		der, err := base64.StdEncoding.DecodeString(k.DER)
		if err != nil {
			return nil, nil, fmt.Errorf("keys of text messages: %w", err)
		}
		keys = append(keys, bundle.Key{ID: k.KeyID, Version: k.KeyID, State: k.State, DER: der})
		versions = append(versions, int64(k.No))
	}
	return keys, versions, nil
}

// messages are the texts of messages as they stand now.
func (m *Maker) messages(ctx context.Context, t *tenant.Tenant) ([]bundle.Message, error) {
	texts, err := template.List(ctx, m.DB, t.ID)
	if err != nil {
		return nil, err
	}
	book, err := template.NewLibrary(m.DB).Book(ctx, t)
	if err != nil {
		return nil, err
	}
	labels := []string{template.MainLabel}
	if t.Settings.SelfReport {
		labels = append(labels, template.UserReportLabel)
	}
	for _, label := range labels {
		if slices.ContainsFunc(texts, func(own template.Text) bool { return own.Label == label }) {
			continue
		}
		body, err := book.Find(label, t.Settings.Language)
		if err != nil {
			return nil, err
		}
		texts = append(texts, template.Text{Label: label, Language: t.Settings.Language, Body: body})
	}
	list := make([]bundle.Message, 0, len(texts))
	for _, text := range texts {
		measure, _ := template.Check(t, text.Label, text.Body, m.Place.RedirectDomain) // its faults are for whoever writes it
		list = append(list, bundle.Message{Label: text.Label, Language: text.Language, Body: text.Body, Measure: measure})
	}
	return list, nil
}

// signName signs the authority's name for a call to Apple. The entry is written first, in
// a transaction of its own: no signature comes into being that the log does not know.
func (m *Maker) signName(ctx context.Context, t *tenant.Tenant, c enx.Config, signer exportfile.Signer, why, wanted string) (authorityname.Pair, error) {
	err := m.DB.In(ctx, t.ID, func(tx *tenant.Tx) error {
		return m.record(ctx, tx, string(authz.PackPush), "authority’s name", map[string]string{"key": signer.KeyID + " " + signer.KeyVersion, "why": why, "for": wanted})
	})
	if err != nil {
		return authorityname.Pair{}, err
	}
	return authorityname.Sign(c.AuthorityName(), signer.Key)
}

// due is a change that this process has for a while.
type due struct {
	ID        uuid.UUID `db:"push_id"`
	Pack      uuid.UUID `db:"pack_id"`
	State     PushState
	Changes   []byte
	Attempts  int
	AskedByID string `db:"asked_by_id"`
	// fence is the number of the attempt as it was taken.
	fence int
}

const (
	claimSQL = `
   update pack_push
      set attempts = attempts + 1,
          due_at   = $2
    where state in ('waiting', 'reading')
      and due_at <= $1
returning push_id, pack_id, state, changes, attempts, asked_by_id`

	// lease is how long a process may be about a change before another one tries.
	lease = 2 * time.Minute
	// callTimeout is less: two calls fit in.
	callTimeout = 30 * time.Second
	// Readings of what Apple delivers come after a while: it keeps what it has delivered.
	readAfter   = time.Minute
	maxReadings = 5
	maxAttempts = 6
	firstPause  = time.Minute
)

// push sends a change that is due, or asks again what Apple delivers.
func (m *Maker) push(ctx context.Context, id tenant.ID) error {
	var list []due
	now := m.Now().UTC()
	err := m.DB.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &list, claimSQL, now, now.Add(lease)) })
	if err != nil || len(list) == 0 {
		return err
	}
	d := list[0]
	d.fence = d.Attempts
	t, err := m.Directory.ByID(ctx, id)
	if err != nil {
		return fmt.Errorf("find tenant: %w", err)
	}
	if m.Apple == nil {
		return m.settle(ctx, t, d, settled{state: Refused, attempts: d.Attempts, outcome: ErrPushOff.Error()})
	}
	var changes map[string]any
	if err := json.Unmarshal(d.Changes, &changes); err != nil {
		return fmt.Errorf("change to Apple: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	if d.State == Waiting {
		return m.send(ctx, t, d, changes)
	}
	return m.settle(ctx, t, d, m.reading(ctx, t, d, changes))
}

// send sends a change once. If Apple takes it, what it delivers is asked at once, too.
func (m *Maker) send(ctx context.Context, t *tenant.Tenant, d due, changes map[string]any) error {
	var p Pack
	err := m.DB.In(ctx, t.ID, func(tx *tenant.Tx) (err error) {
		p, err = find(ctx, tx, d.Pack)
		return err
	})
	if err != nil {
		return err
	}
	body, err := appleChange(t.Region, p.Config, changes)
	if err != nil {
		return m.settle(ctx, t, d, settled{state: Refused, attempts: d.Attempts, outcome: err.Error()})
	}
	signer, err := m.Keys.Signer(ctx, t.ID, signing.Export)
	if err != nil {
		return err
	}
	if signer.Label != p.Config.Values["publicKeyVersion"] {
		return m.settle(ctx, t, d, settled{state: Refused, attempts: d.Attempts, outcome: "The pack names another key than the one that signs now: make a new pack."})
	}
	pair, err := m.signName(ctx, t, p.Config, exportfile.Signer{KeyID: signer.KeyID, KeyVersion: signer.Label, Key: signer.Key}, "push "+d.ID.String(), d.AskedByID)
	if err != nil {
		return err
	}
	calling, cancel := context.WithTimeout(ctx, callTimeout)
	err = m.Apple.Send(calling, pair, body)
	cancel()
	switch {
	case err == nil:
		d.Attempts = 0
		return m.settle(ctx, t, d, m.reading(ctx, t, d, changes))
	case errors.Is(err, apple.ErrBusy) && d.Attempts < maxAttempts:
		wait := firstPause << (d.Attempts - 1)
		return m.settle(ctx, t, d, settled{state: Waiting, outcome: err.Error(), wait: wait, attempts: d.Attempts})
	default:
		return m.settle(ctx, t, d, settled{state: Refused, attempts: d.Attempts, outcome: err.Error()})
	}
}

// reading asks what Apple delivers, and goes on asking while that is not what was sent.
func (m *Maker) reading(ctx context.Context, t *tenant.Tenant, d due, changes map[string]any) settled {
	calling, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	delivered, err := m.Apple.Read(calling, t.Region)
	result := settled{state: Reading, wait: readAfter, attempts: d.Attempts}
	switch {
	case err != nil:
		result.outcome = "Apple took the change. Asked what it delivers: " + err.Error()
	default:
		result.differ = delivered.Differ(changes)
		result.outcome = "Apple took the change, and delivers it."
		if len(result.differ) > 0 {
			result.outcome = "Apple took the change, and delivers some keys otherwise."
		}
	}
	if err == nil && len(result.differ) == 0 || d.Attempts >= maxReadings {
		result.state = Taken
	}
	return result
}

// settled is what came of an attempt.
type settled struct {
	state    PushState
	outcome  string
	differ   []string
	wait     time.Duration
	attempts int
}
