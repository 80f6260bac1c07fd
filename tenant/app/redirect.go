package app

import (
	"net/url"
	"strings"
)

// InformationURL is where a link leads on a computer that has no part in exposure
// notification, unless the platform has a page of its own: the reference's, which its
// acceptance test asks for (verification protocol §12.4).
const InformationURL = "https://www.google.com/covid19/exposurenotifications/"

// Site is what a host name stands for.
type Site struct {
	// Region is the ISO 3166 code that the host names, upper case; empty if the host
	// names none.
	Region string
	// Served says that a health authority serves the region.
	Served bool
	// Apps are that authority's.
	Apps []Record
	// ENX says that it takes part without an app of its own.
	ENX bool
	// Information is where other computers are led.
	Information string
}

// Link is what of a request decides where it leads.
type Link struct {
	// Path is the request's, escaped as it came.
	Path string
	// Query is the request's, raw.
	Query     string
	UserAgent string
}

// Redirect says where a link leads: the table of the verification protocol §7.5. A
// link that leads nowhere is not found.
func Redirect(s Site, l Link) (location string, found bool) {
	device := deviceOf(l.UserAgent)
	switch {
	case s.Region == "":
		return onboarding(device)
	case !s.Served:
		return "", false
	}
	switch device {
	case Android:
		return s.android(l), true
	case IOS:
		return s.ios(l)
	default:
		return s.Information, l.Query == ""
	}
}

// deviceOf reads the user agent, which both systems' browsers are truthful about;
// Safari on a tablet calls itself a Macintosh. Empty is any other computer.
func deviceOf(userAgent string) OS {
	agent := strings.ToLower(userAgent)
	switch {
	case strings.Contains(agent, "android"):
		return Android
	case strings.Contains(agent, "iphone"), strings.Contains(agent, "macintosh"):
		return IOS
	default:
		return ""
	}
}

const (
	picker        = "ensonboarding://picker"
	iosOnboarding = "ens://onboarding"
)

// onboarding lets the person choose a region.
func onboarding(device OS) (string, bool) {
	switch device {
	case Android:
		return picker, true
	case IOS:
		return iosOnboarding, true
	default:
		return "", false
	}
}

func (s Site) android(l Link) string {
	app, exists := s.first(Android)
	switch {
	case !exists, app.Headless, app.StoreURL == "":
		return picker + "/" + strings.ToLower(s.Region)
	case l.Query == "":
		return app.StoreURL
	default:
		return "intent://" + s.deep(l) + "#Intent;scheme=ens;package=" + app.ID +
			";action=android.intent.action.VIEW;category=android.intent.category.BROWSABLE;S.browser_fallback_url=" +
			url.QueryEscape(app.StoreURL) + ";end"
	}
}

func (s Site) ios(l Link) (string, bool) {
	app, exists := s.first(IOS)
	switch {
	case exists && app.StoreURL != "":
		return app.StoreURL, true
	case l.Query == "":
		return iosOnboarding, true
	case s.ENX:
		return "ens://" + s.deep(l), true
	default:
		return "", false
	}
}

// first is the first app of a system to which links may lead.
func (s Site) first(os OS) (Record, bool) {
	for _, r := range s.Apps {
		if r.OS == os && !r.DisableRedirect {
			return r, true
		}
	}
	return Record{}, false
}

// deep is a link's path and query for an app: the region is the host's, whatever the
// query says.
func (s Site) deep(l Link) string {
	values, _ := url.ParseQuery(l.Query) // what cannot be read is left out
	values.Set("r", s.Region)
	return strings.ToLower(strings.TrimPrefix(l.Path, "/")) + "?" + values.Encode()
}
