package app

import (
	"net/url"
	"regexp"
	"strings"
)

// Way is what a place does for a person whose link no app has opened.
type Way string

// The ways.
const (
	// Opens takes the link's code into an app, or into the part of the telephone that
	// stands for one.
	Opens Way = "opens"
	// Installs leads to the authority's app in a store.
	Installs Way = "installs"
	// Activates leads to where the telephone asks for the region; it does not take the code.
	Activates Way = "activates"
	// Nowhere is a device for which there is nothing to do.
	Nowhere Way = "nowhere"
)

// Ways are what a person can do with a link that no app has opened.
type Ways struct {
	// Device is the telephone's system; empty for a computer or a tablet.
	Device OS
	// Way is what Location does on that telephone.
	Way      Way
	Location string
	// AppStore and PlayStore are where the authority's apps are; empty if it has none there.
	AppStore, PlayStore string
	// ENX says that telephones of Apple take part without an app.
	ENX bool
	// Code is the link's; empty if it has none that looks like one.
	Code string
}

// codeForm is that of codes in links, whatever length an authority has chosen.
var codeForm = regexp.MustCompile(`^[0-9A-Za-z]{6,32}$`)

// Code is the code of a link; empty if it has none that looks like one.
func (l Link) Code() string {
	values, _ := url.ParseQuery(l.Query) // what cannot be read is left out
	if code := values.Get("c"); codeForm.MatchString(code) {
		return code
	}
	return ""
}

// telephoneOf is the system of a telephone. Tablets of Apple say that they are a
// Macintosh, or an iPad, and have no exposure notifications.
func telephoneOf(userAgent string) OS {
	device := deviceOf(userAgent)
	if device == IOS && !strings.Contains(strings.ToLower(userAgent), "iphone") {
		return ""
	}
	return device
}

// WaysOf tells what can be done with a link of a region that an authority serves.
func WaysOf(s Site, l Link) Ways {
	w := Ways{Device: telephoneOf(l.UserAgent), Way: Nowhere, ENX: s.ENX, Code: l.Code()}
	if app, exists := s.first(IOS); exists {
		w.AppStore = app.StoreURL
	}
	if app, exists := s.first(Android); exists && !app.Headless {
		w.PlayStore = app.StoreURL
	}
	if w.Device == "" {
		return w
	}
	location, found := Redirect(s, l)
	switch {
	case !found:
	case location == w.AppStore || location == w.PlayStore:
		w.Way, w.Location = Installs, location
	case location == iosOnboarding || strings.HasPrefix(location, picker):
		w.Way, w.Location = Activates, location
	default:
		w.Way, w.Location = Opens, location
	}
	return w
}
