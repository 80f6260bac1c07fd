package batch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"carillon/signing"
	"carillon/tenant"
	"carillon/tenant/verification"
)

// vault seals what belongs to one batch, each thing for its own place.
type vault struct {
	dk     *signing.DataKey
	tenant tenant.ID
	batch  uuid.UUID
}

func (v vault) binding(what string, row int) signing.Binding {
	return signing.Binding{
		Tenant: v.tenant.String(), Purpose: signing.Batch,
		KeyID: what + "/" + v.batch.String() + "/" + strconv.Itoa(row),
	}
}

func (v vault) seal(what string, row int, value any) ([]byte, error) {
	plain, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	defer clear(plain)
	return v.dk.Seal(v.binding(what, row), plain)
}

func (v vault) open(what string, row int, sealed []byte, dst any) error {
	plain, err := v.dk.Open(v.binding(what, row), sealed)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, dst); err != nil {
		return fmt.Errorf("%s: %w", what, signing.ErrSealed)
	}
	return nil
}

// What is sealed.
const (
	sealedDigest = "digest"
	sealedOrder  = "order"
	sealedResult = "result"
)

// outcome is a row's result as it is sealed: a code, or a refusal's kind and words.
type outcome struct {
	Code string `json:"code,omitempty"`
	Kind string `json:"kind,omitempty"`
	Text string `json:"text,omitempty"`
}

// refusal keeps what the asker may know of an error.
func refusal(err error) outcome {
	o := outcome{Kind: ErrUnworkable.Error()}
	if kind := kindOf(err); kind != nil {
		o.Kind = kind.Error()
	}
	var p *verification.Problem
	if errors.As(err, &p) {
		o.Text = p.Text
	}
	return o
}

// kindOf is the refusal of package verification that err is, or nil.
func kindOf(err error) error {
	for _, kind := range verification.Sentinels() {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}

// err is the refusal again: a [verification.Problem], or [ErrUnworkable].
func (o outcome) err() error {
	for _, kind := range verification.Sentinels() {
		if kind.Error() == o.Kind {
			return &verification.Problem{Kind: kind, Text: o.Text}
		}
	}
	return ErrUnworkable
}

// codeID is the UUID of a row that came without one.
func codeID(batch uuid.UUID, row int) uuid.UUID {
	return uuid.NewSHA1(batch, []byte(strconv.Itoa(row)))
}
