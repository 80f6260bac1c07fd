//go:build !release

package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// endpointsFile tells programs how to reach the demo. It holds API keys in the
// clear, so only its owner may read it.
const endpointsFile = "endpoints.json"

type endpoints struct {
	Exports struct {
		PeriodSeconds int `json:"periodSeconds"`
	} `json:"exports"`
	Tenants []endpoint `json:"tenants"`
	// Sandbox is the first one's.
	Sandbox endpoint `json:"sandbox"`
}

// endpoint is all that a client of one department needs. Members whose name ends
// in Base end in "/": api/verify and so on follow.
type endpoint struct {
	Name               string   `json:"name"`
	Slug               string   `json:"slug"`
	Region             string   `json:"region"`
	PortalURL          string   `json:"portalURL"`
	DeviceBase         string   `json:"deviceBase"`
	IssueBase          string   `json:"issueBase"`
	StatsBase          string   `json:"statsBase"`
	PublishURL         string   `json:"publishURL"`
	KeyStatsURL        string   `json:"keyStatsURL"`
	IndexURL           string   `json:"indexURL"`
	DownloadBase       string   `json:"downloadBase"`
	JWKSURL            string   `json:"jwksURL"`
	JWKSSetURL         string   `json:"jwksSetURL"`
	RedirectBase       string   `json:"redirectBase"`
	InboxURL           string   `json:"inboxURL"`
	ReportURL          string   `json:"reportURL"`
	HealthURLs         []string `json:"healthURLs"`
	DeviceKey          string   `json:"deviceKey"`
	AdminKey           string   `json:"adminKey"`
	StatsKey           string   `json:"statsKey"`
	HealthAuthorityID  string   `json:"healthAuthorityID"`
	Issuer             string   `json:"issuer"`
	Audience           string   `json:"audience"`
	ExportKeyID        string   `json:"exportKeyID"`
	ExportKeyVersion   string   `json:"exportKeyVersion"`
	ExportPublicKeyPEM string   `json:"exportPublicKeyPEM"`
	Staff              []login  `json:"staff"`
}

// setURLs fills in where the department is reached below base, which has no
// trailing slash.
func (e *endpoint) setURLs(base string) {
	t := base + "/t/" + e.Slug + "/"
	e.PortalURL = base + "/portal/" + e.Slug + "/"
	e.DeviceBase, e.IssueBase, e.StatsBase = t, t, t
	e.PublishURL = t + "v1/publish"
	e.KeyStatsURL = t + "v1/stats"
	e.IndexURL = t + "exports/index.txt"
	e.DownloadBase = t + "exports/"
	e.JWKSURL = t + "jwks"
	e.JWKSSetURL = t + ".well-known/jwks.json"
	e.InboxURL = base + "/dev/inbox/" + e.Slug
	e.HealthURLs = []string{base + "/health", base + "/ready"}
}

// readEndpoints returns what an earlier run wrote, or nothing if there was none.
func readEndpoints(dir string) (endpoints, error) {
	var e endpoints
	text, err := os.ReadFile(filepath.Join(dir, endpointsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return endpoints{}, fmt.Errorf("%s: %w", filepath.Join(dir, endpointsFile), err)
	}
	return e, nil
}

// of returns the entry of a department, or an empty one.
func (e endpoints) of(slug string) endpoint {
	for _, t := range e.Tenants {
		if t.Slug == slug {
			return t
		}
	}
	return endpoint{}
}

// write replaces the file as a whole: a reader sees the old one or the new one.
func (e endpoints) write(dir string) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, endpointsFile+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, endpointsFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
