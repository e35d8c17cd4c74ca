# Makes npy/: arrays and archives as NumPy itself writes them, for the readers' tests. Run in this folder.
import io, struct, zipfile
import numpy as np

counting = np.arange(6, dtype=np.float32).reshape(2, 3)
np.save('npy/float32.npy', counting)
np.save('npy/fortran.npy', np.asfortranarray(np.arange(24, dtype=np.int32).reshape(2, 3, 4)))
np.save('npy/big_endian.npy', np.array([1, -2, 300], dtype='>i2'))
np.save('npy/float16.npy', np.array([0.5, -2, 65504], dtype=np.float16))
np.save('npy/bool.npy', np.array([True, False, True]))
np.save('npy/scalar.npy', np.array(16000, dtype=np.int64))
np.save('npy/complex64.npy', np.array([1 + 2j], dtype='>c8'))
np.save('npy/bytes.npy', np.array([b'ab', b'', b'abc']))
np.save('npy/unicode.npy', np.array(['h\u00e9', '\u4e16\u754c', '\U0001f600', '']))
np.save('npy/pickled.npy', np.array([{'a': 1}], dtype=object), allow_pickle=True)
np.save('npy/structured.npy', np.zeros(2, dtype=[('a', 'f4'), ('b', 'i4')]))
for version in ((2, 0), (3, 0)):
    with open('npy/version%d.npy' % version[0], 'wb') as file:
        np.lib.format.write_array(file, counting, version=version)
np.savez('npy/stored.npz', x=counting, labels=np.array([0, 1]))
np.savez_compressed('npy/deflated.npz', x=np.zeros((2, 300), np.float32), labels=np.array([0, 1]))
