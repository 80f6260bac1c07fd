package key

import (
	"carillon/signing"
	"carillon/tenant"
)

// Unseal opens what is stored of a key that is sealed in the database, for taking it to
// another deployment: a private key as PKCS #8, or a secret. Whoever has it clears it.
func Unseal(dk *signing.DataKey, id tenant.ID, p signing.Purpose, keyID, label string, sealed []byte) ([]byte, error) {
	return dk.Open(binding(id, p, keyID, label), sealed)
}

// Reseal is the reverse of [Unseal], under the data key of the deployment to which the key
// has come.
func Reseal(dk *signing.DataKey, id tenant.ID, p signing.Purpose, keyID, label string, secret []byte) ([]byte, error) {
	return dk.Seal(binding(id, p, keyID, label), secret)
}

// FreshPhoneMAC makes the first key for digests of telephone numbers, which never leave a
// deployment.
func FreshPhoneMAC(dk *signing.DataKey, id tenant.ID) (keyID string, sealed []byte, err error) {
	const first = "1"
	sealed, err = signing.NewSecret(dk, binding(id, signing.PhoneMAC, first, ""), macSize)
	return first, sealed, err
}
