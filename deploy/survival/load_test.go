package survival

import (
	"context"
	"encoding/base64"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"carillon/deploy/phone"
)

// load is phones that send keys again and again, and what they were told.
type load struct {
	world *world
	stop  context.CancelFunc
	done  sync.WaitGroup

	mu       sync.Mutex
	keys     map[*authority][][16]byte // acknowledged
	claimed  map[*authority][]string   // UUIDs of codes, acknowledged
	repeated int                       // requests that were sent again
	given    int                       // phones that gave up: their code or certificate ended while nobody answered
	last     time.Time                 // of an acknowledged upload
}

const phones = 4

func (w *world) load() *load {
	ctx, stop := context.WithCancel(w.t.Context())
	l := &load{world: w, stop: stop, keys: map[*authority][][16]byte{}, claimed: map[*authority][]string{}}
	for range phones {
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.report(ctx, w.tenants[rand.IntN(len(w.tenants))])
			}
		})
	}
	return l
}

func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// report is one person's: a code, a token, a certificate, an upload. Each request is
// repeated as phones do until it is answered.
func (l *load) report(ctx context.Context, a *authority) {
	var (
		code phone.Code
		d    phone.Diagnosis
		cert string
		keys phone.Keys
	)
	steps := []func(p *phone.Phone, base string) error{
		func(_ *phone.Phone, base string) (err error) {
			issuer := phone.Issuer{Base: base, AdminKey: a.admin, HTTP: patient}
			code, err = issuer.Issue(ctx, "confirmed", l.world.clock.now().Add(-48*time.Hour))
			return err
		},
		func(p *phone.Phone, _ string) (err error) {
			d, err = p.Verify(ctx, code.Code)
			if err == nil {
				l.note(func() { l.claimed[a] = append(l.claimed[a], code.UUID) })
			}
			return err
		},
		func(p *phone.Phone, _ string) (err error) {
			if keys.TEKs == nil {
				keys = p.NewKeys(1+rand.IntN(14), false)
			}
			cert, err = p.Certificate(ctx, d.Token, keys)
			return err
		},
		func(p *phone.Phone, _ string) error {
			_, err := p.Publish(ctx, keys, cert, "")
			return err
		},
	}
	for _, step := range steps {
		if !l.repeat(ctx, a, step) {
			return
		}
	}
	l.note(func() {
		for _, k := range keys.TEKs {
			raw, err := base64.StdEncoding.DecodeString(k.Key)
			if err != nil {
				panic(err)
			}
			l.keys[a] = append(l.keys[a], [16]byte(raw))
		}
		l.last = time.Now()
	})
}

func (l *load) note(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

var patient = &http.Client{Timeout: 5 * time.Second}

const pauseBetween = 50 * time.Millisecond

// repeat sends a request until it is answered, to whichever process; false if the answer
// is a refusal.
func (l *load) repeat(ctx context.Context, a *authority, send func(*phone.Phone, string) error) bool {
	for {
		base := l.world.anyWorker().base() + "/t/" + a.slug + "/"
		p := &phone.Phone{
			Server: phone.Server{
				DeviceBase: base, PublishURL: base + "v1/publish", DeviceKey: a.device, HealthAuthorityID: a.slug,
			},
			HTTP: patient, Now: l.world.clock.now,
		}
		err := send(p, base)
		if err == nil {
			return true
		}
		var refused *phone.Refusal
		if errors.As(err, &refused) && refused.Status < http.StatusInternalServerError {
			l.refused(refused)
			return false
		}
		l.note(func() { l.repeated++ })
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pauseBetween):
		}
	}
}

// refused is for a code that was claimed though the answer was lost, or whose time is
// over: such a person asks for a new one. Nothing else may be refused.
func (l *load) refused(r *phone.Refusal) {
	switch r.Code {
	case "code_invalid", "code_expired", "token_invalid", "token_expired":
		l.note(func() { l.given++ })
	default:
		l.world.t.Errorf("a good request is refused: %v", r)
	}
}
