package app

// AppleAssociation tells iOS which apps may open the links of a host (verification
// protocol §7.6).
type AppleAssociation struct {
	AppLinks struct {
		Apps    []string      `json:"apps"`
		Details []AppleDetail `json:"details"`
	} `json:"applinks"`
}

// AppleDetail is one app and the paths that it may open.
type AppleDetail struct {
	AppID string   `json:"appID"`
	Paths []string `json:"paths"`
}

// Apple is the document for iOS, which names every app, also those to which no link
// is redirected; found is false if there is none.
func Apple(apps []Record) (document AppleAssociation, found bool) {
	document.AppLinks.Apps = []string{}
	for _, r := range apps {
		if r.OS == IOS {
			document.AppLinks.Details = append(document.AppLinks.Details, AppleDetail{AppID: r.ID, Paths: []string{"*"}})
		}
	}
	return document, len(document.AppLinks.Details) > 0
}

// AssetLink tells Android that an app may open the links of a host (§7.6).
type AssetLink struct {
	Relation []string    `json:"relation"`
	Target   AssetTarget `json:"target"`
}

// AssetTarget is the app, known by who signed it.
type AssetTarget struct {
	Namespace    string   `json:"namespace"`
	PackageName  string   `json:"package_name"`
	Fingerprints []string `json:"sha256_cert_fingerprints"`
}

// AssetLinks is the document for Android, like [Apple].
func AssetLinks(apps []Record) (document []AssetLink, found bool) {
	for _, r := range apps {
		if r.OS == Android {
			document = append(document, AssetLink{
				Relation: []string{"delegate_permission/common.handle_all_urls"},
				Target:   AssetTarget{Namespace: "android_app", PackageName: r.ID, Fingerprints: r.Fingerprints},
			})
		}
	}
	return document, len(document) > 0
}
