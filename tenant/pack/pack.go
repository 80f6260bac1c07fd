// Package pack gets a health authority's configuration from its staff to Apple and Google.
//
// Staff fill in a draft, step by step ([enx] says what belongs there and what is wrong
// with it), and ask for a pack: one file with everything that both are given, numbered
// and never changed. The portal has no key that signs, so it only writes the wish down; a
// [Maker], in the process that has the export key, makes the pack within a second or so:
// it fills in the key, has it sign a sample, and packs all of it into a zip. That a pack
// was handed over, to whom and by whom, is noted with it, and later drafts are held
// against the last one that was.
//
// What is different from what Apple was given can be sent to it: again the portal writes
// down the change, and the [Maker] signs and sends it and asks Apple what it delivers then.
package pack

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
	"carillon/tenant/key/custody"
	"carillon/tenant/pack/enx"
)

// Why something is refused.
var (
	// ErrStep: there is no such step, or no such language.
	ErrStep = errors.New("no such step")
	// ErrChanged: somebody else has saved the step meanwhile.
	ErrChanged = errors.New("somebody else has saved this meanwhile")
	// ErrTooLong: the step has more than can be kept.
	ErrTooLong = errors.New("more text than can be kept")
	// ErrNotReady: something is missing or wrong, so that no pack can be made.
	ErrNotReady = errors.New("the configuration is not complete")
	// ErrNoPack: there is no such pack, or not in the state that the act begins with.
	ErrNoPack = errors.New("no such pack")
	// ErrRecipient: it is not said to whom a pack was handed.
	ErrRecipient = errors.New("say to whom it was handed: 1 to 200 characters")
	// ErrPushOff: this deployment sends nothing to Apple.
	ErrPushOff = errors.New("nothing is sent to Apple from here")
	// ErrPushing: a change is on its way already.
	ErrPushing = errors.New("a change is on its way to Apple already")
	// ErrNothing: nothing is different from what Apple was given.
	ErrNothing = errors.New("nothing is different from what Apple has")
)

// Sentinels lists the errors that callers may tell apart.
func Sentinels() []error {
	return []error{ErrStep, ErrChanged, ErrTooLong, ErrNotReady, ErrNoPack, ErrRecipient, ErrPushOff, ErrPushing, ErrNothing, enx.ErrLanguage, enx.ErrTranslations}
}

// State is how a pack stands.
type State string

// The states of packs.
const (
	// Asked: it will be made.
	Asked State = "asked"
	// Made: it is there, for ever.
	Made State = "made"
	// Failed: what was asked for could not be made, for a reason that it tells.
	Failed State = "failed"
)

// Recipient is who gets packs.
type Recipient string

// The recipients.
const (
	Apple  Recipient = "apple"
	Google Recipient = "google"
	Other  Recipient = "other"
)

// Recipients lists them.
func Recipients() []Recipient { return []Recipient{Apple, Google, Other} }

// Pack is what was made, or will be.
type Pack struct {
	ID     uuid.UUID `db:"pack_id"`
	Number int
	State  State
	// Signed: it has the signed request to Apple, which opens the region to whoever has it.
	Signed  bool
	AskedAt time.Time  `db:"asked_at"`
	AskedBy string     `db:"asked_by"`
	MadeAt  *time.Time `db:"made_at"`
	// Failure says why it could not be made.
	Failure string
	SHA256  []byte
	Size    int
	// Config is what it has, once made with the key.
	Config enx.Config `db:"-"`
	// Exports and SMS are the versions of keys whose public halves it carries, once made.
	Exports pq.Int64Array `db:"export_versions"`
	SMS     pq.Int64Array `db:"sms_versions"`
	// HandOvers are the newest first, and so are Pushes.
	HandOvers []HandOver `db:"-"`
	Pushes    []Push     `db:"-"`

	Document []byte `db:"config"`
}

// HandOver is a note that a pack was given to somebody.
type HandOver struct {
	Pack      uuid.UUID `db:"pack_id"`
	Recipient Recipient
	Person    string
	At        time.Time `db:"handed_at"`
	By        string    `db:"handed_by"`
}

const (
	packColumns = `pack_id, number, state, signed, asked_at, asked_by, made_at, failure, sha256, coalesce(octet_length(body), 0) as size, config, export_versions, sms_versions`

	listSQL = `
  select ` + packColumns + `
    from pack
order by number desc
   limit 100`

	findSQL = `
select ` + packColumns + `
  from pack
 where pack_id = $1`

	handOversSQL = `
  select pack_id, recipient, person, handed_at, handed_by
    from pack_hand_over
order by handed_at desc, hand_over_id
   limit 1000`

	// What was handed over last, to a recipient or to anybody.
	lastSQL = `
  select ` + packColumns + `
    from pack
   where pack_id = (select h.pack_id
                      from pack_hand_over h
                     where $1 = '' or h.recipient = $1
                  order by h.handed_at desc, h.hand_over_id
                     limit 1)`
)

func (p *Pack) carried() custody.Carried { return custody.Carried{Export: p.Exports, SMS: p.SMS} }

func (p *Pack) read() error {
	if err := json.Unmarshal(p.Document, &p.Config); err != nil {
		return fmt.Errorf("configuration of pack %d: %w", p.Number, err)
	}
	p.Document = nil
	return nil
}

// list returns the packs of tx's tenant, the newest first, with their notes.
func list(ctx context.Context, tx *tenant.Tx) (packs []Pack, err error) {
	if err := tx.Select(ctx, &packs, listSQL); err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	notes, err := handOvers(ctx, tx)
	if err != nil {
		return nil, err
	}
	for i := range packs {
		if err := packs[i].read(); err != nil {
			return nil, err
		}
		packs[i].HandOvers = notes[packs[i].ID]
	}
	return packs, nil
}

func handOvers(ctx context.Context, tx *tenant.Tx) (map[uuid.UUID][]HandOver, error) {
	var all []HandOver
	if err := tx.Select(ctx, &all, handOversSQL); err != nil {
		return nil, fmt.Errorf("list hand-overs: %w", err)
	}
	notes := map[uuid.UUID][]HandOver{}
	for _, h := range all {
		notes[h.Pack] = append(notes[h.Pack], h)
	}
	return notes, nil
}

// find returns a pack with its notes: [ErrNoPack] if there is none.
func find(ctx context.Context, tx *tenant.Tx, id uuid.UUID) (Pack, error) {
	p, err := one(ctx, tx, findSQL, id)
	if err != nil {
		return Pack{}, err
	}
	if p == nil {
		return Pack{}, ErrNoPack
	}
	notes, err := handOvers(ctx, tx)
	if err != nil {
		return Pack{}, err
	}
	p.HandOvers = notes[id]
	if err := tx.Select(ctx, &p.Pushes, pushesSQL, id); err != nil {
		return Pack{}, fmt.Errorf("list changes sent: %w", err)
	}
	return *p, nil
}

// last returns the pack that was handed over last, to a recipient, or, with an empty one,
// to anybody; nil if none was.
func last(ctx context.Context, tx *tenant.Tx, to Recipient) (*Pack, error) {
	return one(ctx, tx, lastSQL, string(to))
}

func one(ctx context.Context, tx *tenant.Tx, query string, arg any) (*Pack, error) {
	var p Pack
	err := tx.Get(ctx, &p, query, arg)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = p.read()
	}
	if err != nil {
		return nil, fmt.Errorf("find pack: %w", err)
	}
	return &p, nil
}

// PushState is how a change to Apple stands.
type PushState string

// The states of changes.
const (
	// Waiting: Apple has not answered yet.
	Waiting PushState = "waiting"
	// Reading: Apple has taken it, and is asked what it delivers.
	Reading PushState = "reading"
	// Taken: Apple has taken it; which keys it delivers otherwise all the same is in
	// [Push.Differ].
	Taken PushState = "taken"
	// Refused: Apple will not take it.
	Refused PushState = "refused"
)

// Push is a change that is sent to Apple.
type Push struct {
	ID       uuid.UUID `db:"push_id"`
	Pack     uuid.UUID `db:"pack_id"`
	State    PushState
	AskedAt  time.Time `db:"asked_at"`
	AskedBy  string    `db:"asked_by"`
	Attempts int
	EndedAt  *time.Time `db:"ended_at"`
	// Outcome says in words how it stands.
	Outcome string
	Differ  pq.StringArray
	Changes []byte
}

const pushesSQL = `
  select push_id, pack_id, state, asked_at, asked_by, attempts, ended_at, outcome, differ, changes
    from pack_push
   where pack_id = $1
order by asked_at desc, push_id
   limit 100`
