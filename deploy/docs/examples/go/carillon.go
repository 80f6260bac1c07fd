package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Client asks one health authority. URL has no trailing slash.
type Client struct {
	URL                           string
	AdminKey, StatsKey, DeviceKey string
}

// Refused is an answer that is an error. Code is for programs, Text for developers.
type Refused struct {
	Status     int
	Text, Code string
}

func (r *Refused) Error() string { return fmt.Sprintf("status %d: %s (%s)", r.Status, r.Text, r.Code) }

// IssueRequest asks for a code.
type IssueRequest struct {
	TestType         string  `json:"testType"`
	SymptomDate      string  `json:"symptomDate,omitempty"`
	TestDate         string  `json:"testDate,omitempty"`
	TZOffset         float64 `json:"tzOffset,omitempty"`
	Phone            string  `json:"phone,omitempty"`
	UUID             string  `json:"uuid,omitempty"`
	ExternalIssuerID string  `json:"externalIssuerID,omitempty"`
}

// Issued is a code. It is in this answer and nowhere else.
type Issued struct {
	UUID                   string `json:"uuid"`
	Code                   string `json:"code"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

// Status is what is known of a code.
type Status struct {
	Claimed                bool  `json:"claimed"`
	ExpiresAtTimestamp     int64 `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64 `json:"longExpiresAtTimestamp"`
}

// Expired is a code that is no longer good.
type Expired struct {
	UUID                   string `json:"uuid"`
	ExpiresAtTimestamp     int64  `json:"expiresAtTimestamp"`
	LongExpiresAtTimestamp int64  `json:"longExpiresAtTimestamp"`
}

// BatchCode is a code of a batch, or why there is none.
type BatchCode struct {
	UUID      string `json:"uuid"`
	Code      string `json:"code"`
	Error     string `json:"error"`
	ErrorCode string `json:"errorCode"`
}

// Day is a day's numbers. The document of the service has the rest of them.
type Day struct {
	Date string `json:"date"`
	Data struct {
		CodesIssued  int `json:"codes_issued"`
		CodesClaimed int `json:"codes_claimed"`
		CodesInvalid int `json:"codes_invalid"`
	} `json:"data"`
}

// Verified is what a code was exchanged for.
type Verified struct {
	TestType    string `json:"testtype"`
	SymptomDate string `json:"symptomDate"`
	TestDate    string `json:"testDate"`
	Token       string `json:"token"`
}

// Certificate is what a key server takes with an upload.
type Certificate struct {
	Certificate string `json:"certificate"`
}

// ExposureKey is a key of a phone. Times are in ten minutes since 1970.
type ExposureKey struct {
	Key              string `json:"key"`
	RollingStart     int    `json:"rollingStartNumber"`
	RollingPeriod    int    `json:"rollingPeriod"`
	TransmissionRisk int    `json:"transmissionRisk"`
}

// MAC is the HMAC over exposure keys, in base64, for the certificate.
func MAC(secret []byte, keys []ExposureKey) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%s.%d.%d.%d", k.Key, k.RollingStart, k.RollingPeriod, k.TransmissionRisk)
	}
	slices.Sort(parts)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(strings.Join(parts, ",")))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// Issue makes a code.
func (c Client) Issue(ctx context.Context, r IssueRequest) (Issued, error) {
	return post[Issued](ctx, c, "/api/issue", c.AdminKey, r)
}

type codeRequest struct {
	UUID string `json:"uuid"`
}

// Status says whether a phone has verified a code.
func (c Client) Status(ctx context.Context, uuid string) (Status, error) {
	return post[Status](ctx, c, "/api/checkcodestatus", c.AdminKey, codeRequest{uuid})
}

// Expire ends a code that was not used.
func (c Client) Expire(ctx context.Context, uuid string) (Expired, error) {
	return post[Expired](ctx, c, "/api/expirecode", c.AdminKey, codeRequest{uuid})
}

// Batch makes up to ten codes. Each succeeds or fails by itself, whatever the status is.
func (c Client) Batch(ctx context.Context, rows []IssueRequest) ([]BatchCode, error) {
	body := struct {
		Codes []IssueRequest `json:"codes"`
	}{rows}
	status, text, err := c.ask(ctx, http.MethodPost, "/api/batch-issue", c.AdminKey, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Codes []BatchCode `json:"codes"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Codes == nil {
		return nil, refused(status, text)
	}
	return answer.Codes, nil
}

// Stats are the authority's numbers, the newest day first.
func (c Client) Stats(ctx context.Context) ([]Day, error) {
	status, text, err := c.ask(ctx, http.MethodGet, "/api/stats/realm.json", c.StatsKey, nil)
	if err != nil {
		return nil, err
	}
	answer, err := read[struct {
		Statistics []Day `json:"statistics"`
	}](status, text)
	return answer.Statistics, err
}

// Verify exchanges a code for a token.
func (c Client) Verify(ctx context.Context, code string) (Verified, error) {
	return post[Verified](ctx, c, "/api/verify", c.DeviceKey, struct {
		Code   string   `json:"code"`
		Accept []string `json:"accept"`
	}{code, []string{"confirmed", "likely", "negative", "user-report"}})
}

// Certificate exchanges a token for a certificate.
func (c Client) Certificate(ctx context.Context, token, mac string) (Certificate, error) {
	return post[Certificate](ctx, c, "/api/certificate", c.DeviceKey, struct {
		Token string `json:"token"`
		HMAC  string `json:"ekeyhmac"`
	}{token, mac})
}

func post[T any](ctx context.Context, c Client, path, key string, body any) (T, error) {
	status, text, err := c.ask(ctx, http.MethodPost, path, key, body)
	if err != nil {
		var none T
		return none, err
	}
	return read[T](status, text)
}

func read[T any](status int, text []byte) (answer T, err error) {
	if status != http.StatusOK {
		return answer, refused(status, text)
	}
	return answer, json.Unmarshal(text, &answer)
}

// refused reads an error. Too many requests, and what no handler answered, are text.
func refused(status int, text []byte) error {
	var body struct {
		Error string `json:"error"`
		Code  string `json:"errorCode"`
	}
	if json.Unmarshal(text, &body) != nil {
		body.Error = strings.TrimSpace(string(text))
	}
	return &Refused{Status: status, Text: body.Error, Code: body.Code}
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

func (c Client) ask(ctx context.Context, method, path, key string, body any) (status int, text []byte, err error) {
	var sent io.Reader
	if body != nil {
		if sent, err = padded(body); err != nil {
			return 0, nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, sent)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("X-API-Key", key)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, text, err
}

// padded adds random bytes, which hide from the network what a request is about.
func padded(body any) (io.Reader, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	filler := make([]byte, 1024)
	rand.Read(filler)
	end := fmt.Sprintf(`,"padding":%q}`, base64.StdEncoding.EncodeToString(filler))
	return bytes.NewReader(append(text[:len(text)-1], end...)), nil
}
