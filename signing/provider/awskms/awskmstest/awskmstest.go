// Package awskmstest stands in for the AWS Key Management Service: written from its
// published API (JSON 1.1 over HTTP), with switches for faults. It looks whether a request
// is signed by the right access key, but not at the signature, and knows no policies. What
// speaks to it is Amazon's own client.
package awskmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"carillon/signing/provider/awskms"
	"carillon/signing/provider/providertest"
)

// The credentials that the stand-in accepts.
const (
	AccessKey = "AKIASTANDIN"
	SecretKey = "canary-secret-of-the-stand-in"
)

const account = "arn:aws:kms:eu-test-1:111122223333:key/"

// Server is a stand-in.
type Server struct {
	*providertest.Switch
	// Config reaches it.
	Config awskms.Config

	mu   sync.Mutex
	keys map[string]*kmsKey // guarded by mu; by ID
}

type kmsKey struct {
	id, description, state string
	private                *ecdsa.PrivateKey
	aead                   cipher.AEAD
}

// New starts a stand-in.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{Switch: providertest.NewSwitch(), keys: map[string]*kmsKey{}}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.Config = awskms.Config{
		Region: "eu-test-1", Endpoint: server.URL, Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
	}
	return s
}

// AddSigning makes a key that Carillon did not make, and returns its ID.
func (s *Server) AddSigning() string {
	return s.add("somebody else's", elliptic.P256()).id
}

// AddWrapping makes a symmetric key, and returns its ARN.
func (s *Server) AddWrapping() string {
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &kmsKey{id: uuid.NewString(), state: "Enabled", aead: aead}
	s.keys[k.id] = k
	return account + k.id
}

func (s *Server) add(description string, curve elliptic.Curve) *kmsKey {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &kmsKey{id: uuid.NewString(), description: description, state: "Enabled", private: private}
	s.keys[k.id] = k
	return k
}

// request is the union of all requests.
type request struct {
	KeyID             string `json:"KeyId"`
	KeySpec, KeyUsage string
	Description       string
	Message           []byte
	MessageType       string
	SigningAlgorithm  string
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
	PendingWindow     int `json:"PendingWindowInDays"`
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	fault := s.Take(r.Context())
	switch fault {
	case providertest.Dead:
		refuse(w, http.StatusInternalServerError, "KMSInternalException")
		return
	case providertest.Silent:
		panic(http.ErrAbortHandler)
	case providertest.Nonsense:
		_, _ = io.WriteString(w, "<html>proxy</html>")
		return
	default:
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+AccessKey+"/") || r.Header.Get("X-Amz-Date") == "" {
		refuse(w, http.StatusBadRequest, "UnrecognizedClientException")
		return
	}
	var in request
	operation, is := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	if !is || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || json.Unmarshal(body, &in) != nil {
		refuse(w, http.StatusBadRequest, "SerializationException")
		return
	}
	s.dispatch(w, operation, in, fault)
}

func (s *Server) dispatch(w http.ResponseWriter, operation string, in request, fault providertest.Fault) {
	if operation == "CreateKey" {
		s.create(w, in, fault)
		return
	}
	s.mu.Lock()
	k := s.keys[strings.TrimPrefix(in.KeyID, account)]
	s.mu.Unlock()
	if k == nil {
		refuse(w, http.StatusBadRequest, "NotFoundException")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case operation == "DescribeKey":
		answer(w, map[string]any{"KeyMetadata": k.metadata(fault)})
	case k.state != "Enabled":
		refuse(w, http.StatusBadRequest, "KMSInvalidStateException")
	case operation == "ScheduleKeyDeletion":
		if in.PendingWindow < 7 {
			refuse(w, http.StatusBadRequest, "ValidationException")
			return
		}
		k.state = "PendingDeletion"
		answer(w, map[string]any{"KeyId": account + k.id, "KeyState": k.state, "DeletionDate": time.Now().AddDate(0, 0, in.PendingWindow).Unix(), "PendingWindowInDays": in.PendingWindow})
	case operation == "GetPublicKey" && k.private != nil:
		k.public(w, fault)
	case operation == "Sign" && k.private != nil:
		k.sign(w, in, fault)
	case operation == "Encrypt" && k.aead != nil:
		k.encrypt(w, in)
	case operation == "Decrypt" && k.aead != nil:
		k.decrypt(w, in)
	default:
		refuse(w, http.StatusBadRequest, "InvalidKeyUsageException")
	}
}

func (s *Server) create(w http.ResponseWriter, in request, fault providertest.Fault) {
	if in.KeySpec != "ECC_NIST_P256" || in.KeyUsage != "SIGN_VERIFY" || in.Description == "" {
		refuse(w, http.StatusBadRequest, "ValidationException")
		return
	}
	answer(w, map[string]any{"KeyMetadata": s.add(in.Description, elliptic.P256()).metadata(fault)})
}

func spec(fault providertest.Fault) string {
	if fault == providertest.WrongCurve {
		return "ECC_NIST_P384"
	}
	return "ECC_NIST_P256"
}

func (k *kmsKey) metadata(fault providertest.Fault) map[string]any {
	return map[string]any{
		"KeyId": k.id, "Arn": account + k.id, "Description": k.description, "KeyState": k.state,
		"KeySpec": spec(fault), "KeyUsage": "SIGN_VERIFY", "Enabled": k.state == "Enabled", "CreationDate": 1795618800.5,
	}
}

func (k *kmsKey) public(w http.ResponseWriter, fault providertest.Fault) {
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		panic(err)
	}
	answer(w, map[string]any{"KeyId": account + k.id, "KeySpec": spec(fault), "KeyUsage": "SIGN_VERIFY", "PublicKey": der, "SigningAlgorithms": []string{"ECDSA_SHA_256"}})
}

func (k *kmsKey) sign(w http.ResponseWriter, in request, fault providertest.Fault) {
	if in.MessageType != "DIGEST" || in.SigningAlgorithm != "ECDSA_SHA_256" || len(in.Message) != sha256.Size {
		refuse(w, http.StatusBadRequest, "ValidationException")
		return
	}
	if fault == providertest.WrongSignature {
		in.Message[0] ^= 1
	}
	signature, err := ecdsa.SignASN1(rand.Reader, k.private, in.Message)
	if err != nil {
		panic(err)
	}
	answer(w, map[string]any{"KeyId": account + k.id, "Signature": signature, "SigningAlgorithm": "ECDSA_SHA_256"})
}

// aad binds to the whole context: Go writes maps in the order of their keys.
func aad(in request) []byte {
	text, err := json.Marshal(in.EncryptionContext)
	if err != nil {
		panic(err)
	}
	return text
}

func (k *kmsKey) encrypt(w http.ResponseWriter, in request) {
	nonce := make([]byte, k.aead.NonceSize())
	rand.Read(nonce)
	answer(w, map[string]any{"KeyId": account + k.id, "CiphertextBlob": k.aead.Seal(nonce, nonce, in.Plaintext, aad(in))})
}

func (k *kmsKey) decrypt(w http.ResponseWriter, in request) {
	n := k.aead.NonceSize()
	if len(in.CiphertextBlob) < n {
		refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
		return
	}
	plain, err := k.aead.Open(nil, in.CiphertextBlob[:n], in.CiphertextBlob[n:], aad(in))
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidCiphertextException")
		return
	}
	answer(w, map[string]any{"KeyId": account + k.id, "Plaintext": plain})
}

// refuse quotes the secret, as no server would, so that tests see whether it gets on.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": SecretKey})
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(body)
}
