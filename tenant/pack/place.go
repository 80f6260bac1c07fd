package pack

import (
	"maps"
	"strings"

	"carillon/tenant"
	"carillon/tenant/pack/enx"
)

// Place is where the service is reached, for what phones are told of it.
type Place struct {
	// BaseURL is that of the service, without a trailing slash.
	BaseURL string
	// RedirectDomain is below which each region has a host for links; empty if there is none.
	RedirectDomain string
	// Loopback lets addresses of this machine into packs, for development.
	Loopback bool
	// AppleURL is where changes are sent to, for the request in the pack.
	AppleURL string
}

// Endpoints are the addresses of a tenant.
type Endpoints struct {
	VerificationURL   string   `json:"verificationURL"`
	CertificateURL    string   `json:"certificateURL"`
	UserReportURL     string   `json:"userReportURL,omitempty"`
	WebReportURL      string   `json:"webReportURL,omitempty"`
	PublishURL        string   `json:"publishURL"`
	IndexURL          string   `json:"indexURL"`
	DownloadBase      string   `json:"downloadBase"`
	JWKSURL           string   `json:"jwksURL"`
	RedirectHost      string   `json:"redirectHost,omitempty"`
	AssociationURLs   []string `json:"associationURLs,omitempty"`
	HealthAuthorityID string   `json:"healthAuthorityID"`
}

// Endpoints tells where a tenant is reached.
func (p Place) Endpoints(t *tenant.Tenant) Endpoints {
	base := strings.TrimSuffix(p.BaseURL, "/") + "/t/" + string(t.Slug) + "/"
	e := Endpoints{
		VerificationURL: base + "api/verify", CertificateURL: base + "api/certificate", PublishURL: base + "v1/publish",
		IndexURL: base + "exports/index.txt", DownloadBase: base + "exports/", JWKSURL: base + ".well-known/jwks.json",
		HealthAuthorityID: t.HealthAuthorityID,
	}
	if t.Settings.SelfReport {
		e.UserReportURL = base + "api/user-report"
	}
	if p.RedirectDomain == "" {
		return e
	}
	if t.Settings.SelfReportPage {
		e.WebReportURL = "https://" + p.RedirectDomain + "/report"
	}
	e.RedirectHost = strings.ToLower(t.Region) + "." + p.RedirectDomain
	for _, file := range []string{"apple-app-site-association", "assetlinks.json"} {
		e.AssociationURLs = append(e.AssociationURLs, "https://"+e.RedirectHost+"/.well-known/"+file)
	}
	return e
}

// fill puts what the service knows by itself into a configuration.
func (p Place) fill(c enx.Config, t *tenant.Tenant) enx.Config {
	e := p.Endpoints(t)
	c = c.Clone()
	signs := "no"
	if t.Settings.SMSSigning == tenant.SigningOpen || t.Settings.SMSSigning == tenant.SigningClosed {
		signs = "yes"
	}
	maps.Copy(c.Values, map[string]string{
		"regionIdentifier": t.Region, "healthAuthorityID": t.HealthAuthorityID, "enVersion": "2",
		"tekLocalDownloadIndexFile": e.IndexURL, "tekLocalDownloadBasePath": e.DownloadBase, "tekUploadURL": e.PublishURL,
		"testVerificationURL": e.VerificationURL, "testVerificationCertificateURL": e.CertificateURL,
		"testVerificationUserReportURL": e.UserReportURL, "webReportURL": e.WebReportURL,
		"enableTextMessageVerification": signs, "playStoreDefaultLocale": c.Default(), "appLinkHost": e.RedirectHost,
	})
	return c
}
