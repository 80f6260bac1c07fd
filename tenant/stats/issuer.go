package stats

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"carillon/tenant"
)

// Number is the ID of a member or an API key as statistics show it: the formats want
// a number (verification protocol §8.3). It is the first 48 bits of the UUID, which
// are random, so that it needs no column of its own and tells nothing of how many
// there are; a JSON number holds it exactly.
func Number(id uuid.UUID) int64 {
	return int64(binary.BigEndian.Uint64(id[:8]) >> 16)
}

// numbered is the first and last UUID that a text may mean: a UUID itself, or all that
// have that [Number].
func numbered(text string) (first, last uuid.UUID, err error) {
	if id, err := uuid.Parse(text); err == nil {
		return id, id, nil
	}
	n, err := strconv.ParseUint(text, 10, 48)
	if err != nil {
		return uuid.Nil, uuid.Nil, ErrUnknown
	}
	last = uuid.Max
	for _, id := range []*uuid.UUID{&first, &last} {
		rest := binary.BigEndian.Uint64(id[:8]) & 0xffff
		binary.BigEndian.PutUint64(id[:8], n<<16|rest)
	}
	return first, last, nil
}

// Issuer is somebody who issues codes.
type Issuer struct {
	// ID is the member's or API key's UUID, or an externalIssuerID.
	ID string
	// Number is that of a member or API key.
	Number int64
	// Name and Email are a member's; empty for one who is gone.
	Name, Email string
}

// IssuerDay is how many codes an issuer issued on a day.
type IssuerDay struct {
	Day time.Time
	Issuer
	CodesIssued int64
}

type person struct {
	ID    uuid.UUID `db:"member_id"`
	Name  string
	Email string
}

func (p person) issuer() Issuer {
	return Issuer{ID: p.ID.String(), Number: Number(p.ID), Name: p.Name, Email: p.Email}
}

const (
	peopleSQL = `
  select member_id, name, email
    from member
   where member_id = any($1::uuid[])`

	personSQL = `
  select member_id, name, email
    from member
   where member_id between $1::uuid and $2::uuid
order by member_id
   limit 1`
)

// Users returns the codes that people issued, for each day of the report and each who
// issued any in it: the newest day first, then by number. Nobody issued any: nothing.
func (s *Service) Users(ctx context.Context, t *tenant.Tenant) ([]IssuerDay, error) {
	counts, err := s.recent(ctx, t.ID, issuedByPerson)
	if err != nil {
		return nil, err
	}
	issuers, err := s.people(ctx, t.ID, subjects(counts))
	if err != nil {
		return nil, err
	}
	return s.perIssuer(counts, issuers), nil
}

// people finds who has these IDs.
func (s *Service) people(ctx context.Context, id tenant.ID, ids []string) ([]Issuer, error) {
	issuers := map[string]Issuer{}
	var known []string
	for _, text := range ids {
		issuers[text] = Issuer{ID: text}
		if u, err := uuid.Parse(text); err == nil {
			issuers[text] = Issuer{ID: text, Number: Number(u)}
			known = append(known, text)
		}
	}
	var found []person
	err := s.db.In(ctx, id, func(tx *tenant.Tx) error { return tx.Select(ctx, &found, peopleSQL, pq.StringArray(known)) })
	if err != nil {
		return nil, fmt.Errorf("find members: %w", err)
	}
	for _, p := range found {
		issuers[p.ID.String()] = p.issuer()
	}
	list := make([]Issuer, 0, len(issuers))
	for _, i := range issuers {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b Issuer) int { return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// subjects are those of counts, each once, in order.
func subjects(counts []count) []string {
	var list []string
	for _, c := range counts {
		list = append(list, c.Subject)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// perIssuer fills a report with every day of every issuer.
func (s *Service) perIssuer(counts []count, issuers []Issuer) []IssuerDay {
	type key struct {
		day time.Time
		id  string
	}
	issued := map[key]int64{}
	for _, c := range counts {
		issued[key{c.Day.UTC(), c.Subject}] += c.Quantity
	}
	var report []IssuerDay
	for _, d := range s.days() {
		for _, i := range issuers {
			report = append(report, IssuerDay{Day: d, Issuer: i, CodesIssued: issued[key{d, i.ID}]})
		}
	}
	return report
}

// User returns the codes that one member issued on each day of the report, the newest
// first. id is the member's UUID or [Number]: [ErrUnknown] if there is none.
func (s *Service) User(ctx context.Context, t *tenant.Tenant, id string) (Issuer, []IssuerDay, error) {
	first, last, err := numbered(id)
	if err != nil {
		return Issuer{}, nil, err
	}
	var found []person
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &found, personSQL, first, last) })
	if err != nil {
		return Issuer{}, nil, fmt.Errorf("find member: %w", err)
	}
	if len(found) == 0 {
		return Issuer{}, nil, ErrUnknown
	}
	counts, err := s.recent(ctx, t.ID, issuedByPerson)
	if err != nil {
		return Issuer{}, nil, err
	}
	who := found[0].issuer()
	return who, s.perIssuer(counts, []Issuer{who}), nil
}

// ExternalIssuers returns the codes issued in the name of each externalIssuerID, in
// the form of [Service.Users].
func (s *Service) ExternalIssuers(ctx context.Context, t *tenant.Tenant) ([]IssuerDay, error) {
	counts, err := s.recent(ctx, t.ID, issuedExternal)
	if err != nil {
		return nil, err
	}
	var issuers []Issuer
	for _, id := range subjects(counts) {
		issuers = append(issuers, Issuer{ID: id})
	}
	return s.perIssuer(counts, issuers), nil
}

// APIKey is a key as statistics name it.
type APIKey struct {
	Number int64
	Name   string
	// Kind is device, admin or stats.
	Kind string
}

// APIKeyDay is what was done with an API key on a day.
type APIKeyDay struct {
	Day                                                                   time.Time
	CodesIssued, CodesClaimed, CodesInvalid, TokensClaimed, TokensInvalid int64
}

//nolint:gosec // it reads names, and holds no key
const apiKeySQL = `
  select api_key_id, name, kind
    from api_key
   where api_key_id between $1::uuid and $2::uuid
order by api_key_id
   limit 1`

// APIKey returns what was done with a key on each day of the report, the newest first.
// id is the key's UUID or [Number]: [ErrUnknown] if there is none.
func (s *Service) APIKey(ctx context.Context, t *tenant.Tenant, id string) (APIKey, []APIKeyDay, error) {
	first, last, err := numbered(id)
	if err != nil {
		return APIKey{}, nil, err
	}
	var found []struct {
		ID         uuid.UUID `db:"api_key_id"`
		Name, Kind string
	}
	err = s.db.In(ctx, t.ID, func(tx *tenant.Tx) error { return tx.Select(ctx, &found, apiKeySQL, first, last) })
	if err != nil {
		return APIKey{}, nil, fmt.Errorf("find API key: %w", err)
	}
	if len(found) == 0 {
		return APIKey{}, nil, ErrUnknown
	}
	k := found[0]
	counts, err := s.recent(ctx, t.ID, issuedByKey, keyClaimed, keyInvalid, keyTokens, keyBadTokens)
	if err != nil {
		return APIKey{}, nil, err
	}
	return APIKey{Number: Number(k.ID), Name: k.Name, Kind: k.Kind}, s.apiKeyDays(counts, k.ID.String()), nil
}

func (s *Service) apiKeyDays(counts []count, id string) []APIKeyDay {
	of := byDay(counts)
	report := make([]APIKeyDay, 0, Days)
	for _, day := range s.days() {
		d := APIKeyDay{Day: day}
		for _, c := range of[day] {
			if c.Subject == id {
				d.add(c)
			}
		}
		report = append(report, d)
	}
	return report
}

func (d *APIKeyDay) add(c count) {
	//nolint:exhaustive // the other series are not about API keys
	switch c.Series {
	case issuedByKey:
		d.CodesIssued += c.Quantity
	case keyClaimed:
		d.CodesClaimed += c.Quantity
	case keyInvalid:
		d.CodesInvalid += c.Quantity
	case keyTokens:
		d.TokensClaimed += c.Quantity
	case keyBadTokens:
		d.TokensInvalid += c.Quantity
	}
}
