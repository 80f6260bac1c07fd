package adminui_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"carillon/tenant/sharing"
)

const sharingPath = "/portal/north-shore/sharing"

func TestKeysAreOfferedAndWithdrawnInTwoSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(owner)
	form := w.get(w.get(sharingPath).wants(200, "Shared keys").link("Offer our keys")).wants(200, "Offer our keys")
	form.contains("Keys that arrived earlier are not shared")
	w.post(sharingPath+"/new", url.Values{"recipient": {""}, "keys": {"all"}}).wants(422, "Offer our keys").contains("Enter the name of another health authority")
	w.post(sharingPath+"/new", url.Values{"recipient": {"taken"}, "keys": {"all"}}).wants(422, "Offer our keys").contains("still stands")
	w.post(sharingPath+"/new", url.Values{"recipient": {"tired"}, "keys": {"all"}}).wants(429, "Offer our keys").contains("Wait until tomorrow")
	w.post(sharingPath+"/new", url.Values{"recipient": {"river-valley"}, "keys": {"all"}, "regions": {"Utopia"}}).wants(422, "Offer our keys").contains("Enter regions as codes")
	w.post(sharingPath+"/new", url.Values{"recipient": {"river-valley"}, "keys": {"everything"}}).wants(400, "The form could not be read")

	p := w.post(sharingPath+"/new", url.Values{"recipient": {" River-Valley "}, "keys": {"travelers"}, "regions": {"us-wa"}}).wants(200, "Shared keys")
	p.contains("Your offer was made").contains("river-valley").contains("Keys of travelers, of US-WA alone").contains("Waits for an answer").lacks("River Valley Public Health")
	question := w.get(p.link("Withdraw the offer to river-valley")).wants(200, "Withdraw the offer to river-valley?")
	question.contains("no key of yours goes to").contains("stay in its files").contains("cannot be undone")
	if w.sharing.Outgoing[0].State() != sharing.Waiting {
		t.Error("asking has withdrawn the offer")
	}
	path := question.url.Path
	w.post(path, nil).wants(200, "Shared keys").contains("The offer was withdrawn").contains("Withdrawn by the one who offered")
	w.post(path, nil).wants(404, "There is nothing to do about this offer")
	w.get(path).wants(404, "There is nothing to do about this offer")
}

func TestAnOfferIsAnsweredAndEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing.Incoming = []sharing.Share{
		{Offer: uuid.New(), Peer: "river-valley", PeerName: "River Valley Public Health", OfferedAt: noon},
		{Offer: uuid.New(), Peer: "east", PeerName: "East", OfferedAt: noon},
	}
	w.signIn(owner)
	p := w.get(sharingPath).wants(200, "Shared keys")
	question := w.get(p.link("Answer the offer of River Valley Public Health")).wants(200, "Accept the keys of River Valley Public Health?")
	question.contains("come into your own files").contains("not passed on")
	base := sharingPath + "/" + w.sharing.Incoming[0].Offer.String()
	p = w.post(base+"/accept", nil).wants(200, "Shared keys").contains("You accepted")
	w.post(base+"/decline", nil).wants(404, "There is nothing to do about this offer")
	w.post(sharingPath+"/"+w.sharing.Incoming[1].Offer.String()+"/decline", nil).wants(200, "Shared keys").contains("You declined")
	w.get(p.link("Stop taking keys from River Valley Public Health")).wants(200, "Stop taking keys from River Valley Public Health?")
	w.post(base+"/end", nil).wants(200, "Shared keys").contains("You take no more keys")
	w.post(sharingPath+"/nonsense/accept", nil).wants(404, "There is nothing to do about this offer")
}

func TestWhoSeesTheKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.signIn(custodian).wants(200, "Choose a health authority")
	w.get("/portal/north-shore/").wants(200, "Export files")
	w.get(sharingPath).wants(200, "Shared keys").lacks("Offer our keys")
	page := sharingPath + "/seen"
	w.get(page).wants(200, "Who sees our keys").contains("No files with keys").contains("No keys of yours went")
	w.sharing.Windows = sharing.Seen{
		Own:    []sharing.Publication{{From: noon.Add(-4 * time.Hour), Until: noon, Keys: 1042, Revised: 3}, {Path: "eu/", From: noon.Add(-4 * time.Hour), Until: noon, Keys: 17}},
		Shared: []sharing.Crossing{{Peer: "river-valley", From: noon.Add(-time.Hour), Until: noon, Keys: 14}, {Peer: "river-valley", From: noon.Add(-2 * time.Hour), Until: noon.Add(-time.Hour), Keys: 28}},
	}
	p := w.get(page).wants(200, "Who sees our keys")
	for _, text := range []string{"Files below /t/north-shore/exports/", "1042", "/exports/eu/", "Shared with river-valley", "14", "28", "00:00 PST"} {
		p.contains(text)
	}
}

// Whoever may look may not act, and a caseworker may not even look.
func TestSharingIsForThoseWhomThePolicyAllows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing.Incoming = []sharing.Share{{Offer: uuid.New(), Peer: "east", PeerName: "East", OfferedAt: noon}}
	base := sharingPath + "/" + w.sharing.Incoming[0].Offer.String()
	w.signIn(custodian)
	w.get(sharingPath).wants(200, "Shared keys").lacks("Answer the offer")
	for _, path := range []string{base + "/accept", base + "/decline", base + "/end", base + "/withdraw", sharingPath + "/new"} {
		w.post(path, nil).wants(403, "You may not do this")
	}
	v := newWorld(t)
	v.signIn(caseworker)
	v.get(sharingPath).wants(403, "You may not do this")
	v.get(sharingPath+"/seen").wants(403, "You may not do this")
	v.get("/portal/north-shore/codes/new").lacks("Shared keys")
}
