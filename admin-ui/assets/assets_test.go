package assets

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Every file in dist is served or named by one that is, and every name is there.
func TestComplete(t *testing.T) {
	t.Parallel()
	s, err := Load("/assets/")
	if err != nil {
		t.Fatal(err)
	}
	all, err := fs.Glob(files, "dist/*")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Values(s.names))
	for _, file := range all {
		name := strings.TrimPrefix(file, "dist/")
		if _, found := Find(name); name != "manifest.json" && (!slices.Contains(names, name) || !found) {
			t.Errorf("%s is not in the manifest, or of an unknown type", name)
		}
	}
	if len(all) != len(names)+1 {
		t.Errorf("%d files for %d names", len(all), len(names))
	}
	if path, err := s.Path("portal.css"); err != nil || !strings.HasPrefix(path, "/assets/portal-") {
		t.Errorf("portal.css is at %q, %v", path, err)
	}
	if _, err := s.Path("nothing.css"); err == nil {
		t.Error("a name without a file is accepted")
	}
	for _, name := range []string{"manifest.json", "../assets.go", "nothing.css", ""} {
		if _, found := Find(name); found {
			t.Errorf("%q is served", name)
		}
	}
}
