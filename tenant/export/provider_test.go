package export

import (
	"errors"
	"testing"

	"carillon/signing"
	"carillon/signing/provider/providertest"
	"carillon/signing/provider/vault"
	"carillon/signing/provider/vault/vaulttest"
)

// When whoever keeps the export key is dead, or signs wrong, no file appears and no key is
// lost: phones see what they saw, and when it is back every key is published once.
func TestProviderDiesWhileFilesAreSigned(t *testing.T) {
	t.Parallel()
	north := setUp(t)
	server := vaulttest.New(t)
	outside, err := vault.New(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	if north.world.Root.Providers, err = signing.NewProviders(vault.Name, outside); err != nil {
		t.Fatal(err)
	}
	f := north.of(t, north.world.Create("west", hourly))
	if n := f.count(t, `select count(*) from signing_key where provider = 'vault'`); n != 3 {
		t.Fatalf("%d keys are kept outside, want those for certificates, exports and messages", n)
	}
	s := f.service(nil) // opens the key once, while all is well
	published := f.mustPublish(t, 5)
	f.world.Advance(period)
	f.turn(t, s)
	f.wantOnce(t, published)
	before := f.index(t)

	for fault, want := range map[providertest.Fault]error{
		providertest.Dead: signing.ErrUnavailable, providertest.WrongSignature: signing.ErrUntrusted, providertest.Nonsense: signing.ErrUntrusted,
	} {
		published = append(published, f.mustPublish(t, 5)...)
		f.world.Advance(period)
		server.Set(fault)
		for _, worker := range []*Service{s, f.service(nil)} { // with and without the key in memory
			if err := worker.Turn(t.Context(), f.tenant.ID); err == nil || worker == s && !errors.Is(err, want) {
				t.Errorf("%s: a turn (key in memory: %t) ends with %v", fault, worker == s, err)
			}
			f.world.Advance(lease) // the next attempt
		}
		if got := f.index(t); len(got) != len(before) {
			t.Errorf("%s: the index has %d files, had %d", fault, len(got), len(before))
		}
		server.Set(providertest.Healthy)
		f.turn(t, s)
		f.turn(t, s)
		f.wantOnce(t, published)
		f.wantTidy(t)
		before = f.index(t)
	}
}
