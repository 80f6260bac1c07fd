// Package vaulttest stands in for the transit engine of Vault: written from its published
// HTTP API, with switches for faults. It is no Vault, and proves nothing about one that
// behaves otherwise than its documentation says.
package vaulttest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"carillon/signing/provider/providertest"
	"carillon/signing/provider/vault"
)

// Token is the only one that the stand-in accepts.
const Token = "hvs.canary-token-of-the-stand-in"

// Server is a stand-in.
type Server struct {
	*providertest.Switch
	// Config reaches it.
	Config vault.Config

	mu     sync.Mutex
	signs  map[string]*signKey    // guarded by mu
	wraps  map[string]cipher.AEAD // guarded by mu
	denied bool                   // guarded by mu
}

type signKey struct {
	private   *ecdsa.PrivateKey
	deletable bool
}

// New starts a stand-in which has wrapping keys of the given names.
func New(t testing.TB, roots ...string) *Server {
	t.Helper()
	s := build(t, roots)
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.Config.Address, s.Config.Insecure = server.URL, true
	return s
}

// NewTLS is [New] behind TLS, for programs of which only the settings can be chosen.
func NewTLS(t testing.TB, roots ...string) *Server {
	t.Helper()
	s := build(t, roots)
	server := httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.Config.Address, s.Config.CAFile = server.URL, filepath.Join(t.TempDir(), "ca.pem")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(s.Config.CAFile, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func build(t testing.TB, roots []string) *Server {
	t.Helper()
	s := &Server{Switch: providertest.NewSwitch(), signs: map[string]*signKey{}, wraps: map[string]cipher.AEAD{}}
	for _, name := range roots {
		key := make([]byte, 32)
		rand.Read(key)
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		if s.wraps[name], err = cipher.NewGCM(block); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Config = vault.Config{Mount: "transit", TokenFile: file}
	return s
}

// Deny has the stand-in refuse the token, or accept it again.
func (s *Server) Deny(denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = denied
}

// Keys counts the keys that sign.
func (s *Server) Keys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.signs)
}

// AddKey makes a key that Carillon did not make.
func (s *Server) AddKey(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signs[name] = newKey(elliptic.P256())
}

func newKey(curve elliptic.Curve) *signKey {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return &signKey{private: private}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	fault := s.Take(r.Context())
	switch fault {
	case providertest.Dead:
		answer(w, http.StatusServiceUnavailable, errorsOf("Vault is sealed"))
		return
	case providertest.Silent:
		panic(http.ErrAbortHandler)
	case providertest.Nonsense:
		_, _ = io.WriteString(w, "<html>proxy</html>")
		return
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path, is := strings.CutPrefix(r.URL.Path, "/v1/transit/")
	if r.Header.Get("X-Vault-Token") != Token || s.denied {
		answer(w, http.StatusForbidden, errorsOf("permission denied"))
		return
	}
	verb, name, _ := strings.Cut(path, "/")
	switch {
	case !is:
		answer(w, http.StatusNotFound, errorsOf())
	case verb == "keys":
		s.keys(w, r.Method, name, body, fault)
	case verb == "sign" && r.Method == http.MethodPost:
		s.sign(w, name, body, fault)
	case verb == "encrypt" && r.Method == http.MethodPost:
		s.encrypt(w, name, body)
	case verb == "decrypt" && r.Method == http.MethodPost:
		s.decrypt(w, name, body)
	default:
		answer(w, http.StatusNotFound, errorsOf())
	}
}

func (s *Server) keys(w http.ResponseWriter, method, name string, body []byte, fault providertest.Fault) {
	name, config := strings.CutSuffix(name, "/config")
	k := s.signs[name]
	switch {
	case method == http.MethodPost && config:
		var in struct {
			DeletionAllowed bool `json:"deletion_allowed"`
		}
		if k == nil || json.Unmarshal(body, &in) != nil {
			answer(w, http.StatusBadRequest, errorsOf("no existing key named "+name+" could be found"))
			return
		}
		k.deletable = in.DeletionAllowed
		w.WriteHeader(http.StatusNoContent)
	case method == http.MethodPost:
		var in struct {
			Type       string
			Exportable bool
		}
		if json.Unmarshal(body, &in) != nil || in.Type != "ecdsa-p256" || in.Exportable {
			answer(w, http.StatusBadRequest, errorsOf("unknown key type"))
			return
		}
		if k == nil {
			s.signs[name] = newKey(elliptic.P256())
		}
		w.WriteHeader(http.StatusNoContent)
	case method == http.MethodGet && k != nil:
		answer(w, http.StatusOK, k.info(name, fault))
	case method == http.MethodDelete && k != nil && k.deletable:
		delete(s.signs, name)
		w.WriteHeader(http.StatusNoContent)
	case method == http.MethodDelete:
		answer(w, http.StatusBadRequest, errorsOf("could not delete key; not found or deletion is not allowed"))
	default:
		answer(w, http.StatusNotFound, errorsOf())
	}
}

func (k *signKey) info(name string, fault providertest.Fault) map[string]any {
	kind, private := "ecdsa-p256", k.private
	if fault == providertest.WrongCurve {
		kind, private = "ecdsa-p384", newKey(elliptic.P384()).private
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		panic(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return map[string]any{"data": map[string]any{
		"name": name, "type": kind, "latest_version": 1, "exportable": false, "deletion_allowed": k.deletable,
		"keys": map[string]any{"1": map[string]any{"name": "P-256", "public_key": public, "creation_time": "2026-11-25T15:04:05Z"}},
	}}
}

func (s *Server) sign(w http.ResponseWriter, name string, body []byte, fault providertest.Fault) {
	var in struct {
		Input         []byte
		Prehashed     bool
		HashAlgorithm string `json:"hash_algorithm"`
		Marshaling    string `json:"marshaling_algorithm"`
		KeyVersion    int    `json:"key_version"`
	}
	k := s.signs[name]
	if k == nil || json.Unmarshal(body, &in) != nil || !in.Prehashed || in.HashAlgorithm != "sha2-256" ||
		in.Marshaling != "asn1" || in.KeyVersion != 1 || len(in.Input) != sha256.Size {
		answer(w, http.StatusBadRequest, errorsOf("signing key not found"))
		return
	}
	if fault == providertest.WrongSignature {
		in.Input[0] ^= 1
	}
	signature, err := ecdsa.SignASN1(rand.Reader, k.private, in.Input)
	if err != nil {
		panic(err)
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{
		"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(signature), "key_version": 1,
	}})
}

func (s *Server) encrypt(w http.ResponseWriter, name string, body []byte) {
	var in struct {
		Plaintext []byte
		AAD       []byte `json:"associated_data"`
	}
	aead := s.wraps[name]
	if aead == nil || json.Unmarshal(body, &in) != nil {
		answer(w, http.StatusBadRequest, errorsOf("encryption key not found"))
		return
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	sealed := aead.Seal(nonce, nonce, in.Plaintext, in.AAD)
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{
		"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(sealed), "key_version": 1,
	}})
}

func (s *Server) decrypt(w http.ResponseWriter, name string, body []byte) {
	var in struct {
		Ciphertext string
		AAD        []byte `json:"associated_data"`
	}
	aead := s.wraps[name]
	if aead == nil || json.Unmarshal(body, &in) != nil {
		answer(w, http.StatusBadRequest, errorsOf("encryption key not found"))
		return
	}
	text, is := strings.CutPrefix(in.Ciphertext, "vault:v1:")
	sealed, err := base64.StdEncoding.DecodeString(text)
	if !is || err != nil || len(sealed) < aead.NonceSize() {
		answer(w, http.StatusBadRequest, errorsOf("invalid ciphertext"))
		return
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], in.AAD)
	if err != nil {
		answer(w, http.StatusBadRequest, errorsOf("cipher: message authentication failed"))
		return
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"plaintext": plain}})
}

// errorsOf quotes the token, as no server should, so that tests see whether it gets on.
func errorsOf(texts ...string) map[string]any {
	return map[string]any{"errors": append(texts, Token)}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
