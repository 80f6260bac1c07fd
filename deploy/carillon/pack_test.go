package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/client"
	"carillon/tenant/key"
	"carillon/tenant/onboarding"
	"carillon/tenant/pack"
	"carillon/tenant/pack/bundle"
	"carillon/tenant/pack/demo"
	"carillon/tenant/role"
	"carillon/tenant/tenanttest"
)

// asCarillon has the test's own program be carillon, as a process of its own.
const asCarillon = "CARILLON_TEST_AS_CARILLON"

func TestMain(m *testing.M) {
	if os.Getenv(asCarillon) != "" {
		main()
	}
	os.Exit(m.Run())
}

// unpackDemo unpacks the pack of a complete demo authority into a folder with nothing else.
func unpackDemo(t *testing.T) string {
	t.Helper()
	w := tenanttest.New(t)
	north := w.Create("north", func(s *onboarding.Spec) { s.ExportPeriod = 4 * time.Hour })
	place := pack.Place{BaseURL: "https://keys.example", AppleURL: "https://apple.example"}
	owner := authz.Subject{Kind: authz.Person, ID: "o", Name: "Owner", Roles: []authz.Role{authz.Owner}}
	staff := pack.NewStaff(pack.StaffConfig{DB: w.Portal, Keys: key.NewRing(w.Portal, w.Root), Policies: role.NewPolicies(w.Portal), Place: place, Now: w.Now})
	maker := pack.NewMaker(pack.MakerConfig{DB: w.Jobs, Keys: key.NewRing(w.Jobs, w.Root), Directory: tenant.NewDirectory(w.Jobs), Place: place, Now: w.Now})
	device := w.Key(north, client.Device)
	if err := w.Portal.In(t.Context(), north.ID, func(tx *tenant.Tx) error { return demo.Save(t.Context(), tx, north, owner, device, w.Now()) }); err != nil {
		t.Fatal(err)
	}
	id, err := staff.Ask(t.Context(), north, owner, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Turn(t.Context(), north.ID); err != nil {
		t.Fatal(err)
	}
	body, _, err := staff.Body(t.Context(), north, owner, id)
	if err != nil {
		t.Fatal(err)
	}
	files, err := bundle.Open(body, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for name, text := range files {
		write(t, folder, name, text)
	}
	return folder
}

// command is the one of a pack's readme that checks its sample.
func command(t *testing.T, folder string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(folder, bundle.ReadmeName))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`carillon (export verify [^`]+)`").FindSubmatch(readme)
	if found == nil {
		t.Fatal("the readme has no command for the sample")
	}
	return strings.Fields(string(found[1]))
}

// carillonIn runs the program with a folder and nothing of this process's settings.
func carillonIn(t *testing.T, folder string, args ...string) (printed string, err error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], args...)
	c.Dir, c.Env = folder, []string{asCarillon + "=1"}
	out, err := c.Output()
	return string(out), err
}

// Who has a pack and the program, and nothing else, can check the sample export as the
// pack's readme says; a sample or a key that is another is refused.
func TestAPackIsVerifiedWithNothingElse(t *testing.T) {
	t.Parallel()
	folder := unpackDemo(t)
	verify := command(t, folder)
	want, err := os.ReadFile(filepath.Join(folder, bundle.ExpectedName))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := carillonIn(t, folder, verify...); err != nil || got != string(want) {
		t.Errorf("it prints %q (%v), and the pack says %q", got, err, want)
	}
	sample, err := os.ReadFile(filepath.Join(folder, bundle.SampleName))
	if err != nil {
		t.Fatal(err)
	}
	sample[len(sample)/2] ^= 1
	write(t, folder, bundle.SampleName, sample)
	if got, err := carillonIn(t, folder, verify...); err == nil {
		t.Errorf("a changed sample: %s", got)
	}
	sample[len(sample)/2] ^= 1
	write(t, folder, bundle.SampleName, sample)
	keyFile(t, folder, bundle.KeyName, newKey(t))
	if got, err := carillonIn(t, folder, verify...); err == nil {
		t.Errorf("another's key: %s", got)
	}
}
