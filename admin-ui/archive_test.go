package adminui_test

import (
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant"
	"carillon/tenant/archive/shelf"
)

// An owner asks for an archive, sees how it goes, and takes it while its time lasts.
func TestArchiveIsAskedForAndTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const path = "/portal/north-shore/archive"
	w.signIn(owner)
	p := w.get("/portal/north-shore/leaving").wants(200, "Leaving Carillon")
	p = w.get(p.link("Archives of your data")).wants(200, "Your data").contains("Nobody has asked for an archive yet")
	w.get(p.link("Ask for an archive")).wants(200, "Ask for an archive").contains("Signing keys are left out").lacks(`name="age-key"`)
	w.post(path+"/new", url.Values{"confirm": {"yes"}, "age-key": {"age1e"}}).wants(409, "Keys cannot come along now")
	p = w.post(path+"/new", url.Values{"confirm": {"yes"}}).wants(200, "Your data").contains("An archive will be made in a moment")
	w.archives.Kept[0].Attempt, w.archives.Kept[0].Size = 1, 4<<20
	w.get(p.link("Look again")).wants(200, "Your data").contains("4195 KB so far").lacks("Take the archive")

	w.archives.Make()
	p = w.get(path).wants(200, "Your data").contains("ready for you").contains("010203")
	file := w.get(p.link("Take the archive"))
	if file.status != 200 || file.body != w.archives.Body {
		t.Errorf("%d, %q", file.status, file.body)
	}
	h := file.header
	if h.Get("Content-Type") != "application/zip" || h.Get("Content-Disposition") != `attachment; filename="carillon-archive-north-shore-2026-11-26.zip"` || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", h)
	}
	w.get(path+"/"+uuid.NewString()+"/file").wants(404, "There is no such archive for you")
	w.get(path+"/7/file").wants(404, "There is no such archive for you")

	w.staff.Tenants[0].State = tenant.Leaving
	w.get(path).wants(200, "Your data").contains("Take the archive")
	w.get(path+"/new").wants(200, "Ask for an archive").contains("They are sealed to one age public key")
	if p := w.post(path+"/new", url.Values{"confirm": {"yes"}, "age-key": {"age1e"}}).wants(422, "Ask for an archive").contains("Enter an age public key"); p.value("age-key") != "age1e" {
		t.Error("what was typed is lost")
	}
	w.signIn(auditor)
	w.get(path).wants(403, "This health authority is leaving")

	taken := path + "/" + w.archives.Kept[0].ID.String() + "/file"
	w.archives.Kept[0].Expires = new(noon.Add(-time.Second))
	w.signIn(owner)
	w.get(path).wants(200, "Your data").contains("An archive that can be taken no more").lacks("/file")
	w.get(taken).wants(410, "This archive can be taken no more")
	w.archives.Kept = append(w.archives.Kept, shelf.Archive{ID: uuid.New(), State: shelf.Failed})
	w.get(path).wants(200, "Your data").contains("could not be made")
}

// A file that breaks off on its way is not taken for a whole one.
func TestArchiveThatBreaksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(owner)
	w.post("/portal/north-shore/archive/new", url.Values{"confirm": {"yes"}}).wants(200, "Your data")
	w.archives.Make()
	w.archives.Broken = errors.New("the store is away")
	r, err := w.client.Get(w.server.URL + "/portal/north-shore/archive/" + w.archives.Kept[0].ID.String() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if body, err := io.ReadAll(r.Body); err == nil || len(body) != 1 {
		t.Errorf("%q, %v", body, err)
	}
}
