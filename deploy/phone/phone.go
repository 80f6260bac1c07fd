// Package phone is a simulated phone: what an exposure-notification client does
// against a verification server and a key server, over HTTP, with nothing but their
// addresses and an API key. It shares formats with the service but no state, so it
// works against any implementation.
//
// It does what phones do and no more: an answer that is no success in the sense of
// Google's client (a 2xx, JSON, without an error member) is a [Refusal] that names the
// step, redirects are not followed, a listed file that is missing fails the whole
// download, and no file counts whose signature is not by the key that was given.
package phone

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"carillon/signing/certificate"
)

// Server is how a phone reaches a health authority's servers.
type Server struct {
	// DeviceBase ends in a slash; api/verify and api/certificate follow.
	DeviceBase string
	// PublishURL takes in keys.
	PublishURL string
	// IndexURL lists export files; each name in it follows DownloadBase.
	IndexURL, DownloadBase string
	// DeviceKey is the API key built into apps.
	DeviceKey string
	// HealthAuthorityID names the authority when publishing.
	HealthAuthorityID string
}

// Phone is one device.
type Phone struct {
	Server Server
	// HTTP makes the requests; nil is a client with a time limit of its own.
	HTTP *http.Client
	// Now is the phone's clock.
	Now func() time.Time
}

// Refusal is an answer that is not a success.
type Refusal struct {
	// Step is what the phone was doing.
	Step string
	// Status is the HTTP status; Code and Text what the body said.
	Status     int
	Code, Text string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: status %d, code %q: %s", r.Step, r.Status, r.Code, r.Text)
}

const (
	requestTimeout = 60 * time.Second
	maxAnswer      = 1 << 20
	maxDownload    = 20 << 20
	requestPadding = 3 << 10
)

func client(given *http.Client) *http.Client {
	if given != nil {
		return given
	}
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// call is one request that sends JSON.
type call struct {
	client    *http.Client
	step, url string
	apiKey    string // none if empty
	chaff     bool
}

// post sends a body and decodes a success.
func (c call) post(ctx context.Context, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s: %w", c.step, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", c.step, err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if c.apiKey != "" {
		request.Header.Set("X-API-Key", c.apiKey)
	}
	if c.chaff {
		request.Header.Set("X-Chaff", "1")
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", c.step, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: read answer: %w", c.step, err)
	}
	return understand(c.step, response, answer, into)
}

// device is a call to the verification server, publishing one to the key server.
func (p *Phone) device(step, path string) call {
	return call{client: client(p.HTTP), step: step, url: p.Server.DeviceBase + path, apiKey: p.Server.DeviceKey}
}

func (p *Phone) publishing(step string) call {
	return call{client: client(p.HTTP), step: step, url: p.Server.PublishURL}
}

// understand accepts what the reference's own client accepts: a 2xx answer, JSON,
// without an error member.
func understand(step string, response *http.Response, answer []byte, into any) error {
	var said struct {
		Error     string `json:"error"`
		Code      string `json:"code"`
		ErrorCode string `json:"errorCode"`
	}
	isJSON := strings.HasPrefix(response.Header.Get("Content-Type"), "application/json")
	if isJSON {
		_ = json.Unmarshal(answer, &said) // an answer that does not decode is refused below
	}
	if response.StatusCode/100 != 2 || !isJSON || said.Error != "" {
		text := said.Error
		if text == "" {
			text = string(answer[:min(len(answer), 200)])
		}
		return &Refusal{Step: step, Status: response.StatusCode, Code: cmp.Or(said.Code, said.ErrorCode), Text: text}
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s: answer: %w", step, err)
	}
	return nil
}

// padding brings a request to about the size that phones send.
func padding() string { return base64.StdEncoding.EncodeToString(random(requestPadding)) }

// Diagnosis is what a verified code stands for.
type Diagnosis struct {
	TestType    string `json:"testtype"`
	SymptomDate string `json:"symptomDate"`
	TestDate    string `json:"testDate"`
	// Token is the long-term token.
	Token string `json:"token"`
}

// Verify swaps a code for a token (verification protocol §1).
func (p *Phone) Verify(ctx context.Context, code string) (Diagnosis, error) {
	return p.VerifyReported(ctx, code, "")
}

// VerifyReported is Verify for a code that this phone has asked for itself.
func (p *Phone) VerifyReported(ctx context.Context, code string, nonce Nonce) (Diagnosis, error) {
	var d Diagnosis
	err := p.device("verify", "api/verify").post(ctx, map[string]any{
		"code": code, "accept": []string{"confirmed", "likely", "negative", "user-report"}, "nonce": nonce, "padding": padding(),
	}, &d)
	if err == nil && d.Token == "" {
		err = errors.New("verify: the answer has no token")
	}
	return d, err
}

// Keys are a phone's own exposure keys with the secret of their HMAC, frozen for one
// upload.
type Keys struct {
	TEKs   []certificate.TEK
	Secret []byte
}

const (
	intervalSeconds = 600
	intervalsPerDay = 144
	secretSize      = 16
	tekSize         = 16
)

// NewKeys makes n keys of a day each, the newest that of yesterday, or of today if
// withToday: a server holds that one back until it has ended.
func (p *Phone) NewKeys(n int, withToday bool) Keys {
	midnight := p.Now().UTC().Truncate(24*time.Hour).Unix() / intervalSeconds
	if !withToday {
		midnight -= intervalsPerDay
	}
	k := Keys{Secret: random(secretSize)}
	for i := range n {
		k.TEKs = append(k.TEKs, certificate.TEK{
			Key:          base64.StdEncoding.EncodeToString(random(tekSize)),
			RollingStart: int32(midnight - int64(i)*intervalsPerDay), RollingPeriod: intervalsPerDay,
		})
	}
	return k
}

// Certificate swaps a token for a certificate over the keys (verification protocol §2).
func (p *Phone) Certificate(ctx context.Context, token string, k Keys) (string, error) {
	mac, err := certificate.MAC(k.Secret, k.TEKs)
	if err != nil {
		return "", fmt.Errorf("certificate: %w", err)
	}
	var answer struct {
		Certificate string `json:"certificate"`
	}
	err = p.device("certificate", "api/certificate").post(ctx, map[string]any{
		"token": token, "ekeyhmac": base64.StdEncoding.EncodeToString(mac), "padding": padding(),
	}, &answer)
	if err == nil && answer.Certificate == "" {
		err = errors.New("certificate: the answer has no certificate")
	}
	return answer.Certificate, err
}

// Published is the key server's answer.
type Published struct {
	RevisionToken string   `json:"revisionToken"`
	Inserted      int      `json:"insertedExposures"`
	Warnings      []string `json:"warnings"`
}

type wireKey struct {
	Key              string `json:"key"`
	RollingStart     int32  `json:"rollingStartNumber"`
	RollingPeriod    int32  `json:"rollingPeriod"`
	TransmissionRisk int32  `json:"transmissionRisk,omitempty"`
}

// Publish uploads keys with their certificate (key server protocol §1).
// revisionToken is that of an earlier answer, or empty.
func (p *Phone) Publish(ctx context.Context, k Keys, cert, revisionToken string) (Published, error) {
	return p.upload(ctx, "publish", k, cert, revisionToken)
}

// ErrNoRevisionToken means that an earlier upload gave no power to revise it.
var ErrNoRevisionToken = errors.New("the earlier answer has no revision token")

// Revise uploads keys again with a certificate of another report type, which may also
// cover new ones (key server protocol §3). [ErrNoRevisionToken] if the earlier answer
// does not allow it.
func (p *Phone) Revise(ctx context.Context, k Keys, cert string, earlier Published) (Published, error) {
	const step = "revise"
	if earlier.RevisionToken == "" {
		return Published{}, fmt.Errorf("%s: %w", step, ErrNoRevisionToken)
	}
	return p.upload(ctx, step, k, cert, earlier.RevisionToken)
}

func (p *Phone) upload(ctx context.Context, step string, k Keys, cert, revisionToken string) (Published, error) {
	body := Upload(p.Server.HealthAuthorityID, k, cert, revisionToken)
	body["padding"] = padding()
	var answer Published
	err := p.publishing(step).post(ctx, body, &answer)
	return answer, err
}

// Upload is the body of a request to publish, without its padding (key server protocol
// §1.2).
func Upload(healthAuthorityID string, k Keys, cert, revisionToken string) map[string]any {
	keys := make([]wireKey, len(k.TEKs))
	for i, t := range k.TEKs {
		keys[i] = wireKey(t)
	}
	return map[string]any{
		"temporaryExposureKeys": keys, "healthAuthorityID": healthAuthorityID,
		"verificationPayload": cert, "hmacKey": base64.StdEncoding.EncodeToString(k.Secret),
		"revisionToken": revisionToken, "traveler": false,
	}
}

// Chaff sends the whole sequence of an upload as cover traffic, as phones do every
// now and then. The answers mean nothing; each must be a success.
func (p *Phone) Chaff(ctx context.Context) error {
	for _, c := range []call{
		p.device("chaff for verify", "api/verify"),
		p.device("chaff for certificate", "api/certificate"),
		p.publishing("chaff for publish"),
	} {
		c.chaff = true
		var ignored struct{}
		if err := c.post(ctx, map[string]any{"padding": padding()}, &ignored); err != nil {
			return err
		}
	}
	return nil
}
