package adminuitest

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/archive"
	"carillon/tenant/archive/shelf"
)

// Archives is a [shelf.Desk] that makes nothing: its archives are as Kept says, and have
// the content Body.
type Archives struct {
	Now  func() time.Time
	Kept []shelf.Archive
	Body string
	// Broken ends a download after its first byte.
	Broken error
}

// List returns all.
func (a *Archives) List(context.Context, authz.Subject, *tenant.Tenant) ([]shelf.Archive, error) {
	return a.Kept, nil
}

// Ask adds one that waits.
func (a *Archives) Ask(_ context.Context, by authz.Subject, t *tenant.Tenant, recipient string) error {
	switch {
	case recipient != "" && t.State != tenant.Leaving:
		return shelf.ErrKeysStay
	case archive.CheckRecipient(recipient) != nil:
		return archive.ErrRecipient
	}
	a.Kept = slices.Insert(a.Kept, 0, shelf.Archive{
		ID: uuid.New(), State: shelf.Asked, Recipient: recipient, AskedBy: by.ID, Requester: by.Name, AskedAt: a.Now(),
	})
	return nil
}

// Make makes the newest.
func (a *Archives) Make() {
	expires := a.Now().Add(shelf.Keep)
	k := &a.Kept[0]
	k.State, k.Size, k.SHA256, k.Expires = shelf.Made, int64(len(a.Body)), []byte{1, 2, 3}, &expires
}

// Take gives out Body.
func (a *Archives) Take(_ context.Context, by authz.Subject, _ *tenant.Tenant, id uuid.UUID) (shelf.Archive, func(context.Context, io.Writer) error, error) {
	at := slices.IndexFunc(a.Kept, func(k shelf.Archive) bool { return k.ID == id && k.AskedBy == by.ID })
	if at < 0 {
		return shelf.Archive{}, nil, shelf.ErrNoArchive
	}
	if !a.Kept[at].Ready(by, a.Now()) {
		return shelf.Archive{}, nil, shelf.ErrExpired
	}
	return a.Kept[at], func(_ context.Context, to io.Writer) error {
		body := a.Body
		if a.Broken != nil {
			body = body[:1]
		}
		_, err := io.WriteString(to, body)
		if err == nil {
			err = a.Broken
		}
		return err
	}, nil
}
